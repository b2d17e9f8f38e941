//! A desktop app that embeds the engine: `cargo run --example desktop -- FOLDER [TITLE]`.
//!
//! It opens the folder (making a device and a vault the first time), writes a note if a title is given, shows the notes,
//! and prints every change until Ctrl-C.

use privstack_sync::crdt::{Edit, EntityView, FieldValue};
use privstack_sync::error::{Error, Result};
use privstack_sync::orchestrator::{
    Filter, OrchestratorConfig, SyncConfig, Update, block_on, create_personal_orchestrator,
};
use privstack_sync::transport::p2p::P2pConfig;
use privstack_sync::types::{EntityType, FieldName, Value};

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let folder = args.next().ok_or_else(|| Error::invalid("usage: desktop FOLDER [TITLE]"))?;
    block_on(app(folder, args.next()))
}

async fn app(folder: String, title: Option<String>) -> Result<()> {
    // Making the handle touches no disk; `start` opens the folder and the network.
    let engine = create_personal_orchestrator(OrchestratorConfig {
        sync_config: SyncConfig { device_name: "desktop example".into(), ..SyncConfig::default() },
        p2p_config: P2pConfig::default(),
        cloud_config: None,
        db_path: folder.into(),
    });
    engine.start().await?;
    if engine.status().await?.vault.is_none() {
        let new = engine.init().await?;
        println!("A new vault. Write down its recovery words, they are shown only now:\n{}", *new.recovery_words);
    }
    let note = EntityType::new("note")?;
    engine.list(Some(note.clone()), None, 1_000).await?.iter().for_each(show);
    let mut changes = engine.subscribe(Filter::of_type(note.clone()));
    if let Some(title) = title {
        // Answered when the note is on disk.
        engine.create(note.clone(), vec![Edit::Set(FieldName::new("title")?, Value::Text(title))]).await?;
    }
    while let Some(change) = changes.next().await {
        match change? {
            Update::Entities(entities) => entities.iter().for_each(show),
            // Changes came so fast that some are lost to this reader: show everything again.
            Update::Lagged(_) => engine.list(Some(note.clone()), None, 1_000).await?.iter().for_each(show),
        }
    }
    Ok(())
}

fn show(note: &EntityView) {
    let state = if note.deleted { "deleted" } else { "note" };
    match note.field("title") {
        Some(FieldValue::Register(Value::Text(title))) => println!("{state} {}: {title}", note.id),
        _ => println!("{state} {} has no title", note.id),
    }
}
