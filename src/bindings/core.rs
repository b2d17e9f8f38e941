//! The exported class.

use std::path::PathBuf;
use std::rc::Rc;

use js_sys::{Array, Function, Uint8Array};
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};
use tsify::{Ts, Tsify};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::spawn_local;

use super::calls::ask_from_js;
use super::convert::{edits_from_js, entity_id, entity_type, ids_to_js, seen_to_js, to_error};
use super::passphrase::seal_key;
use super::reading::{Wanted, read_many};
use super::tab::{Maker, News, Shared, Tab};
use super::testing::{TestNetwork, create_test_orchestrator};
use crate::error::{Error, ErrorCode, Result};
use crate::orchestrator::{
    OrchestratorConfig, SyncConfig, create_enterprise_orchestrator, create_personal_orchestrator,
};
use crate::platform::entropy;
use crate::platform::web::keys;
use crate::platform::web::tabs::{is_visible, lock_name};
use crate::policy::PolicyKind;
use crate::store::SealKey;
use crate::tabs::{Election, Replica};
use crate::transport::p2p::P2pConfig;
use crate::types::{EntityId, EntityType, FieldName};

/// What a store is opened with.
#[derive(Tsify, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Options {
    name: String,
    device_name: String,
    /// In memory, and so this page's alone.
    memory: bool,
    /// A second tab is an error.
    single: bool,
    /// Every byte stays on this device.
    offline: bool,
    relays: Vec<String>,
    /// A vault that is made here follows an enterprise's rules.
    enterprise: bool,
}

/// A store in a tab: a replica of what the tab shows, and the engine while the tab leads.
#[wasm_bindgen]
pub struct Core {
    shared: Rc<Shared>,
}

type Thrown<T> = std::result::Result<T, JsValue>;

fn thrown<T>(result: Result<T>) -> Thrown<T> {
    result.map_err(|error| to_error(&error))
}

#[wasm_bindgen]
impl Core {
    /// Opens a store; `told` gets lists of news from then on. `key` seals what is kept: 32 bytes, as `deriveKey` gives
    /// them.
    pub async fn open(
        options: Ts<Options>,
        told: Function,
        network: Option<TestNetwork>,
        key: Option<Vec<u8>>,
    ) -> Thrown<Core> {
        let options = options.to_rust().map_err(|error| to_error(&Error::invalid(format!("open: {error}"))))?;
        let seal = thrown(key.map(seal_key).transpose())?;
        if !options.memory {
            thrown(keys::check(&options.name, seal.as_ref()).await)?;
        }
        let (news, heard) = mpsc::unbounded_channel();
        let replica = Replica::new(&*thrown(entropy::bytes())?);
        let tab = replica.tab();
        let (opened, done) = oneshot::channel();
        let shared = Shared::new(replica, told, news, opened);
        let name = (!options.memory).then(|| lock_name(&options.name));
        let election = Election::new(tab, options.single, is_visible());
        let make = maker(&options, seal, network);
        spawn_local(Tab::new(shared.clone(), election, name, make, options.relays).run(heard));
        thrown(done.await.unwrap_or_else(|_| Err(closed())))?;
        Ok(Core { shared })
    }

    /// This device's peer id, once a leader has said it.
    pub fn device(&self) -> Option<String> {
        self.shared.replica.borrow().device().map(|peer| peer.to_string())
    }

    /// Whether this tab runs the engine.
    pub fn leads(&self) -> bool {
        self.shared.leads.get()
    }

    /// How many writes are not known to be saved.
    pub fn unsaved(&self) -> usize {
        self.shared.replica.borrow().unsaved()
    }

    /// Entities of a type with writes that are not known to be saved.
    #[wasm_bindgen(js_name = unsavedOf)]
    pub fn unsaved_of(&self, name: &str) -> Thrown<JsValue> {
        let name = thrown(entity_type(name))?;
        Ok(ids_to_js(&self.shared.replica.borrow().unsaved_of(&name)))
    }

    /// A new entity's id.
    #[wasm_bindgen(js_name = newId)]
    pub fn new_id(&self) -> String {
        let now = self.shared.now();
        self.shared.replica.borrow_mut().new_id(now).to_string()
    }

    /// Writes `[id, edits]` each as one commit. It shows when this returns.
    pub fn write(&self, name: &str, changes: Array) -> Thrown<()> {
        let result = read_changes(&changes).and_then(|changes| {
            let (name, now) = (entity_type(name)?, self.shared.now());
            self.shared.replica.borrow_mut().write(now, &name, changes)
        });
        self.shared.flush();
        thrown(result)
    }

    /// What an entity shows; see `seen_to_js`.
    pub fn read(&self, name: &str, id: &str) -> Thrown<JsValue> {
        let (name, id) = thrown(key(name, id))?;
        let seen = self.shared.replica.borrow().read(&name, &id);
        Ok(seen_to_js(&seen))
    }

    /// What many entities show, as one text; see [`read_many`].
    #[wasm_bindgen(js_name = readMany)]
    pub fn read_many(&self, name: &str, fields: &str, ids: &str) -> Thrown<String> {
        let (name, wanted) = (thrown(entity_type(name))?, thrown(Wanted::from_json(fields))?);
        thrown(read_many(&self.shared.replica.borrow(), &name, &wanted, ids))
    }

    /// The entities of a type that are here: their ids one after the other.
    pub fn ids(&self, name: &str) -> Thrown<JsValue> {
        let name = thrown(entity_type(name))?;
        Ok(ids_to_js(&self.shared.replica.borrow().ids(&name)))
    }

    /// Wants all entities of a type.
    pub fn watch(&self, name: &str) -> Thrown<()> {
        let name = thrown(entity_type(name))?;
        self.shared.replica.borrow_mut().watch(&name);
        self.shared.flush();
        Ok(())
    }

    /// Wants one entity.
    pub fn fetch(&self, name: &str, id: &str) -> Thrown<()> {
        let (name, id) = thrown(key(name, id))?;
        self.shared.replica.borrow_mut().fetch(&name, &[id]);
        self.shared.flush();
        Ok(())
    }

    /// What a text shows.
    pub fn text(&self, name: &str, id: &str, field: &str) -> Thrown<String> {
        let key = thrown(text_key(name, id, field))?;
        Ok(self.shared.replica.borrow().text(&key))
    }

    /// Tells changes of a text from now on.
    #[wasm_bindgen(js_name = watchText)]
    pub fn watch_text(&self, name: &str, id: &str, field: &str) -> Thrown<()> {
        let key = thrown(text_key(name, id, field))?;
        thrown(self.shared.replica.borrow_mut().watch_text(&key))
    }

    /// Ends one `watchText`.
    #[wasm_bindgen(js_name = unwatchText)]
    pub fn unwatch_text(&self, name: &str, id: &str, field: &str) -> Thrown<()> {
        let key = thrown(text_key(name, id, field))?;
        self.shared.replica.borrow_mut().unwatch_text(&key);
        Ok(())
    }

    /// The Yjs client id for editors in this tab.
    #[wasm_bindgen(js_name = textClient)]
    pub fn text_client(&self) -> f64 {
        // 53 bits: a number holds them.
        self.shared.replica.borrow().editor_client() as f64
    }

    /// A text as a Yjs update.
    #[wasm_bindgen(js_name = encodeText)]
    pub fn encode_text(&self, name: &str, id: &str, field: &str, since: Option<Uint8Array>) -> Thrown<Uint8Array> {
        let key = thrown(text_key(name, id, field))?;
        let since = since.map(|since| since.to_vec());
        let update = self.shared.replica.borrow_mut().encode_text(&key, since.as_deref());
        thrown(update).map(|update| Uint8Array::from(update.as_slice()))
    }

    /// Asks; the answer comes as news with the number given.
    pub fn ask(&self, name: &str, argument: JsValue) -> Thrown<f64> {
        let ask = thrown(ask_from_js(name, &argument))?;
        let number = self.shared.replica.borrow_mut().ask(ask);
        self.flush_soon();
        Ok(number as f64)
    }

    /// Reaches other devices through these relays from now on.
    #[wasm_bindgen(js_name = setRelays)]
    pub fn set_relays(&self, relays: Vec<String>) {
        let _ = self.shared.news.send(News::Relays(relays));
    }

    /// Nobody waits for this answer any more.
    pub fn forget(&self, number: f64) {
        self.shared.replica.borrow_mut().forget(number as u64);
    }

    /// Answers, as news with the number given, once all that was written before is saved.
    pub fn settle(&self) -> f64 {
        let number = self.shared.replica.borrow_mut().settle();
        self.flush_soon();
        number as f64
    }

    /// Saves what is under way and closes.
    pub async fn close(&self) -> Thrown<()> {
        let (done, closed_now) = oneshot::channel();
        if self.shared.news.send(News::Close(done)).is_err() {
            return Ok(());
        }
        thrown(closed_now.await.unwrap_or(Ok(())))
    }
}

impl Core {
    /// The page has to know the number of a question before it hears the answer.
    fn flush_soon(&self) {
        let shared = self.shared.clone();
        spawn_local(async move { shared.flush() });
    }
}

fn closed() -> Error {
    Error::new(ErrorCode::Closed, "the store was closed before it was open")
}

fn key(name: &str, id: &str) -> Result<(EntityType, EntityId)> {
    Ok((entity_type(name)?, entity_id(id)?))
}

fn text_key(name: &str, id: &str, field: &str) -> Result<(EntityType, EntityId, FieldName)> {
    Ok((entity_type(name)?, entity_id(id)?, FieldName::new(field)?))
}

fn read_changes(changes: &Array) -> Result<Vec<(EntityId, Vec<crate::crdt::Edit>)>> {
    let change = |change: JsValue| {
        let change: Array = change.unchecked_into();
        let id = entity_id(&change.get(0).as_string().unwrap_or_default())?;
        Ok((id, edits_from_js(&change.get(1))?))
    };
    changes.iter().map(change).collect()
}

/// Makes the orchestrator of a store, each time that this tab comes to lead.
fn maker(options: &Options, seal: Option<SealKey>, network: Option<TestNetwork>) -> Maker {
    let config = OrchestratorConfig {
        sync_config: SyncConfig {
            device_name: options.device_name.clone(),
            offline: options.offline,
            seal,
            ..SyncConfig::default()
        },
        p2p_config: P2pConfig {
            listen_addr: String::new(),
            extra_listen: Vec::new(),
            bootstrap_nodes: Vec::new(),
            enable_mdns: false,
            enable_dht: false,
            enable_relay: false,
        },
        cloud_config: None,
        // Without a name the store is in memory.
        db_path: PathBuf::from(if options.memory { "" } else { &options.name }),
    };
    let policy = if options.enterprise { PolicyKind::Enterprise } else { PolicyKind::Personal };
    Box::new(move |relays| {
        let mut config = config.clone();
        config.p2p_config.enable_relay = !relays.is_empty();
        config.p2p_config.bootstrap_nodes = relays.to_vec();
        match &network {
            Some(network) => create_test_orchestrator(network, config, policy),
            None if policy == PolicyKind::Enterprise => create_enterprise_orchestrator(config),
            None => create_personal_orchestrator(config),
        }
    })
}
