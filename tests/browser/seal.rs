//! The passphrase of a store in the browser: set, changed, removed, and a crash at any step of that.

use std::path::Path;

use js_sys::{Array, Promise, Reflect};
use privstack_sync::error::{Error, ErrorCode, Result};
use privstack_sync::platform::web::keys::{is_sealed, load_or_create, salt};
use privstack_sync::platform::web::seal::{NewSeal, change, change_by};
use privstack_sync::platform::web::store::{delete, open};
use privstack_sync::store::{Read, SealKey, Store, Table, WriteBatch};
use privstack_sync::types::PeerId;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use wasm_bindgen_test::wasm_bindgen_test as test;
use zeroize::Zeroizing;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = indexedDB)]
    fn databases() -> Promise;
}

/// The databases whose names start like this.
async fn databases_of(name: &str) -> Vec<String> {
    let all = Array::from(&JsFuture::from(databases()).await.unwrap());
    let names = all.iter().map(|one| Reflect::get(&one, &"name".into()).unwrap().as_string().unwrap());
    names.filter(|one| one.starts_with(name)).collect()
}

/// What stands for a passphrase: deriving real ones would take most of the test's time.
fn key(of: &str) -> SealKey {
    let mut bytes = [0; 32];
    bytes[..of.len()].copy_from_slice(of.as_bytes());
    SealKey::new(Zeroizing::new(bytes))
}

fn new(of: &str) -> NewSeal {
    NewSeal { key: key(of), salt: vec![of.len() as u8; 16] }
}

fn quiet(_: u64, _: u64) -> Result<()> {
    Ok(())
}

type Shown = (PeerId, [u8; 16], Vec<(Table, Vec<u8>, Vec<u8>)>);

/// What the store shows to this passphrase: who it is, which instance, and its rows.
async fn shown(name: &str, passphrase: Option<&str>) -> Result<Shown> {
    let (name, key) = (Path::new(name), passphrase.map(key));
    let store = open(name, key.as_ref()).await?;
    let device = load_or_create(name, key.as_ref()).await?.peer_id();
    let mut rows = Vec::new();
    for table in Table::ALL {
        let (from, to) = (vec![], vec![0xff; 16]);
        let read = Read::Range { table, from, to, max_rows: usize::MAX, max_bytes: usize::MAX };
        let found = store.read(&read).await?.intact()?;
        rows.extend(found.into_iter().map(|(key, value)| (table, key, value)));
    }
    Ok((device, store.instance_mark(), rows))
}

/// A store with a device and rows in several tables, whose values have so many bytes, or some times as many.
async fn made(name: &str, bytes: usize) -> Shown {
    for name in databases_of(name).await {
        delete(&name).await.unwrap();
    }
    let mut store = open(Path::new(name), None).await.unwrap();
    load_or_create(Path::new(name), None).await.unwrap();
    for (round, table) in Table::ALL.into_iter().enumerate() {
        let mut batch = WriteBatch::default();
        for row in 0..20_u32 {
            batch.put(table, row.to_be_bytes(), vec![round as u8; bytes * round]);
        }
        store.commit(batch).await.unwrap();
    }
    drop(store);
    shown(name, None).await.unwrap()
}

#[test]
async fn a_passphrase_is_set_changed_and_removed_and_all_stays() {
    let name = "seal steps";
    // Some tables are larger than what is copied at once.
    let before = made(name, 3_000).await;
    let mut steps = Vec::new();
    let mut progress = |done, total| {
        steps.push((done, total));
        Ok(())
    };
    change(name, None, Some(&new("one")), &mut progress).await.unwrap();
    assert!(
        steps.len() > 8 && steps.is_sorted() && steps.last().is_some_and(|(done, total)| done == total),
        "{steps:?}"
    );
    assert_eq!(shown(name, Some("one")).await.unwrap(), before);
    assert_eq!(is_sealed(name).await.unwrap(), Some(true));
    assert_eq!(salt(name).await.unwrap(), new("one").salt);
    for (old, to) in [(None, Some("two")), (Some("two"), Some("three")), (Some("two"), None), (None, None)] {
        let refused = change(name, old.map(key).as_ref(), to.map(new).as_ref(), &mut quiet).await;
        assert_eq!(refused.unwrap_err().code(), ErrorCode::Locked, "{old:?} {to:?}");
    }
    change(name, Some(&key("one")), Some(&new("three")), &mut quiet).await.unwrap();
    for wrong in [None, Some("one")] {
        assert_eq!(shown(name, wrong).await.unwrap_err().code(), ErrorCode::Locked);
    }
    assert_eq!(salt(name).await.unwrap(), new("three").salt);
    assert_eq!(shown(name, Some("three")).await.unwrap(), before);
    change(name, Some(&key("three")), None, &mut quiet).await.unwrap();
    assert_eq!(shown(name, None).await.unwrap(), before);
    assert_eq!(is_sealed(name).await.unwrap(), Some(false));
    assert_eq!(shown(name, Some("three")).await.unwrap_err().code(), ErrorCode::Locked);
    assert_eq!(databases_of(name).await, [name], "nothing is left over");
}

#[test]
async fn after_a_crash_at_any_step_either_the_old_passphrase_opens_or_the_new_one() {
    let name = "seal crash";
    let before = made(name, 100).await;
    let states = [None, Some("one"), Some("two")];
    let mut state = 0;
    let mut seen = Vec::new();
    for (to, crash_at) in (0..24).map(|round| ([1, 2, 0][round % 3], round / 3)) {
        let (old, new_one) = (states[state].map(key), states[to].map(new));
        let (mut step, mut decided) = (0, false);
        let mut reached = |what: &str| {
            decided |= what == "decided";
            if step == crash_at {
                seen.push(what.to_owned());
                return Err(Error::storage("a crash"));
            }
            step += 1;
            Ok(())
        };
        let ended = change_by(name, old.as_ref(), new_one.as_ref(), &mut quiet, &mut reached).await;
        assert_eq!(ended.is_ok(), crash_at >= 6, "{crash_at}: {ended:?}");
        if decided {
            state = to;
        }
        // Who asks first is told the same as who opens it: a page has to know whether to ask for a passphrase.
        if to % 2 == 0 {
            assert_eq!(is_sealed(name).await.unwrap(), Some(states[state].is_some()));
        }
        for other in states.into_iter().filter(|other| *other != states[state]) {
            assert_eq!(shown(name, other).await.unwrap_err().code(), ErrorCode::Locked, "crash at {crash_at}");
        }
        assert_eq!(shown(name, states[state]).await.unwrap(), before, "to {to}, crash at {crash_at}");
        assert_eq!(databases_of(name).await, [name], "nothing is left over after a crash at {crash_at}");
        if state != to {
            change(name, states[state].map(key).as_ref(), new_one.as_ref(), &mut quiet).await.unwrap();
            state = to;
        }
    }
    seen.dedup();
    assert!(seen.len() >= 6, "{seen:?}");
}

#[test]
async fn who_gives_up_amid_the_copying_has_changed_nothing() {
    let name = "seal given up";
    let before = made(name, 100).await;
    let mut steps = 0;
    let mut enough = |_, _| {
        steps += 1;
        if steps < 4 { Ok(()) } else { Err(Error::new(ErrorCode::Aborted, "enough")) }
    };
    let ended = change(name, None, Some(&new("one")), &mut enough).await;
    assert_eq!(ended.unwrap_err().code(), ErrorCode::Aborted);
    assert_eq!(databases_of(name).await, [name]);
    assert_eq!(shown(name, None).await.unwrap(), before);
    // Later it is too late.
    let mut late =
        |done, total| if done * 4 < total * 3 { Ok(()) } else { Err(Error::new(ErrorCode::Aborted, "enough")) };
    change(name, None, Some(&new("one")), &mut late).await.unwrap();
    assert_eq!(shown(name, Some("one")).await.unwrap(), before);
}

#[test]
async fn where_no_device_is_there_is_nothing_to_seal() {
    let ended = change("seal of nobody", None, Some(&new("one")), &mut quiet).await;
    assert_eq!(ended.unwrap_err().code(), ErrorCode::NotFound);
    assert_eq!(is_sealed("seal of nobody").await.unwrap(), None);
    assert!(databases_of("seal of nobody").await.is_empty());
}
