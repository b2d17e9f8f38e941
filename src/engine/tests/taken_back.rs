//! Logs that are taken back: to before a damaged block, or to where a device left its own chain.

use super::*;
use crate::store::{Table, WriteBatch};
use crate::test;

fn two_members() -> (Device, Device) {
    let (mut a, mut b) = (Device::new(1, SMALL), Device::new(2, SMALL));
    a.init(PolicyKind::Personal);
    a.admit(&mut b, SyncRole::Member);
    (a, b)
}

fn blocks(device: &Device) -> Vec<(Vec<u8>, Vec<u8>)> {
    let (from, to) = (vec![], vec![0xff; 64]);
    let read = Read::Range { table: Table::Blocks, from, to, max_rows: usize::MAX, max_bytes: usize::MAX };
    device.disk.rows(&read).rows
}

#[test]
fn events_are_counted_once_after_a_damaged_block_was_fetched_again() {
    let (mut a, mut b) = two_members();
    (1..=6).for_each(|number| a.write("note", id(number), "x"));
    connect(&mut a, &mut b, LinkId(1));
    assert_eq!(b.status().events, 6);
    let mut batch = WriteBatch::default();
    batch.put(Table::Blocks, blocks(&b)[0].0.clone(), b"no block");
    b.take(Input::LinkDown(LinkId(1)));
    a.take(Input::LinkDown(LinkId(1)));
    b.disk.apply(batch);
    // A history reads every block.
    b.engine.rebuild_pages(crate::engine::layout::TypeIx(0));
    b.take(Input::Tick);
    assert_eq!((b.status().events, blocks(&b).len()), (0, 0), "nothing before the damage is left");
    connect(&mut a, &mut b, LinkId(2));
    assert_eq!((a.status().events, b.status().events), (6, 6));
}

#[test]
fn events_before_a_damaged_block_stay_counted() {
    let (mut a, mut b) = two_members();
    connect(&mut a, &mut b, LinkId(1));
    for number in 1..=6 {
        a.write("note", id(number), "x");
        talk(&mut a, &mut b);
    }
    let rows = blocks(&b);
    assert_eq!(rows.len(), 6);
    let mut batch = WriteBatch::default();
    batch.put(Table::Blocks, rows[4].0.clone(), b"no block");
    b.take(Input::LinkDown(LinkId(1)));
    b.disk.apply(batch);
    b.engine.rebuild_pages(crate::engine::layout::TypeIx(0));
    b.take(Input::Tick);
    assert_eq!((b.status().events, blocks(&b).len()), (4, 4));
}

#[test]
fn events_of_a_branch_that_its_author_drops_are_not_counted() {
    let (mut a, mut b) = two_members();
    a.write("note", id(1), "x");
    let old = a.disk.clone();
    a.write("note", id(2), "y");
    a.write("note", id(3), "z");
    connect(&mut a, &mut b, LinkId(1));
    // The disk is put back, and nobody has told the device.
    let mut a = Device::open(1, SMALL, old);
    a.write("note", id(4), "typed after that");
    b.take(Input::LinkDown(LinkId(1)));
    connect(&mut a, &mut b, LinkId(2));
    // Three of the old chain, and what was typed after that in a new epoch.
    assert_eq!((a.status().events, b.status().events), (4, 4));
    assert_eq!((a.explain(None), a.hung_up.len() + b.hung_up.len()), (vec![], 0));
}

#[test]
fn a_refold_that_grows_while_it_runs_forgets_nothing_it_was_for() {
    use crate::engine::layout::TypeIx;
    use crate::engine::refold::Stale;
    let mut a = Device::new(1, Tuning::default());
    a.init(PolicyKind::Personal);
    a.write("note", id(1), "x");
    a.write("note", id(2), "y");
    let Reply::Digest(before) = a.call(Call::Digest).unwrap() else { panic!() };
    let ty = TypeIx(0);
    let key = *a.engine.logs.keys().next().unwrap();
    a.engine.entities.replace(ty, [1, 2].map(|number| (id(number), Default::default())));
    let stale = |commit| {
        let mut stale = Stale::default();
        stale.add(key, commit..commit + 1);
        stale
    };
    // Until the first pass has found all there is.
    a.engine.start_refold(stale(1));
    let mut inputs = VecDeque::from([Input::Tick]);
    for _ in 0..3 {
        let (now, mut out) = (Instant { mono: a.now, wall: a.now }, Vec::new());
        a.engine.handle(now, inputs.pop_front().unwrap(), &mut out);
        for output in out {
            if let Output::Read(ticket, read) = output {
                inputs.push_back(Input::Rows(ticket, Ok(a.disk.rows(&read))));
            }
        }
    }
    a.engine.start_refold(stale(2));
    a.take(Input::Tick);
    let Reply::Digest(after) = a.call(Call::Digest).unwrap() else { panic!() };
    assert_eq!(after, before);
}

#[test]
fn what_is_folded_again_is_told_apart_from_the_commits_of_the_same_batch() {
    use crate::engine::TabId;
    use crate::engine::disk::Landed;
    let mut a = Device::new(1, Tuning::default());
    a.init(PolicyKind::Personal);
    a.call(Call::OpenTab(TabId(1))).unwrap();
    let other = Device::new(2, Tuning::default()).engine.me;
    let mut landed = Landed { refolded: vec![id(2), id(3)], ..Landed::default() };
    landed.touch(other, [id(1), id(2)].into_iter());
    let told: Vec<_> = a.engine.changed(&mut landed).into_iter().map(|changed| changed.updated).collect();
    // A replica folds commits into what it has; what was folded again it has to fetch, whatever came with it.
    assert_eq!(told, [vec![(other, vec![id(1), id(2)])], vec![(a.engine.me, vec![id(2), id(3)])]]);
}
