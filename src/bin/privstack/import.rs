//! `import`: Markdown, JSON and JSON Lines into the vault, in commits that fit the engine's limits. An import that was
//! cut short goes on where it was when it is run again.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use privstack_sync::error::{Error, ErrorCode, Result};
use privstack_sync::types::limits::{MAX_BATCH_SIZE, MAX_EVENT_BYTES};
use privstack_sync::types::{EntityId, EntityType, Hash};
use serde_json::{Map, Value as Json, json};

use crate::client::Client;
use crate::document::{Document, IMPORT_MARK, in_changes, operations, source_mark};
use crate::files::{file_error, read_bounded};
use crate::output::Step;
use crate::serve::{Line, read_line};
use crate::{markdown, values};

/// Bytes of one Markdown file, and of one line of JSON Lines.
const MAX_NOTE_BYTES: u64 = 16 << 20;
/// Bytes of one JSON file.
const MAX_JSON_BYTES: u64 = 256 << 20;
/// Documents whose entities are read from the vault at once, and the bytes of their sources that wait for that.
const READ_AT_ONCE: usize = 500;
const READ_BYTES: usize = 4 << 20;
/// Bytes of one commit as JSON, far enough below `MAX_COMMIT_BYTES` for values that take more as bytes.
const COMMIT_BYTES: usize = 1_500 << 10;

/// What an import did.
#[derive(Debug, Default)]
pub struct Report {
    files: u64,
    /// Files of other kinds in the folders given.
    skipped: u64,
    created: u64,
    updated: u64,
    unchanged: u64,
    /// Entities that are deleted in the vault, and stay so.
    deleted: u64,
    commits: u64,
    events: u64,
    /// What could not be imported: where it stands, why.
    pub failed: Vec<(String, String)>,
    /// What was imported otherwise than one might think.
    pub notes: Vec<(String, String)>,
}

impl Report {
    /// As `--json` prints it.
    pub fn to_json(&self) -> Json {
        let list = |list: &[(String, String)]| -> Vec<Json> {
            list.iter().map(|(file, message)| json!({ "file": file, "message": message })).collect()
        };
        json!({
            "files": self.files, "skipped": self.skipped, "created": self.created, "updated": self.updated,
            "unchanged": self.unchanged, "deleted": self.deleted, "commits": self.commits, "events": self.events,
            "failed": list(&self.failed), "notes": list(&self.notes),
        })
    }

    /// One line for people.
    pub fn summary(&self) -> String {
        let mut text = format!(
            "{} files: {} entities created, {} updated, {} unchanged; {} events in {} commits",
            self.files, self.created, self.updated, self.unchanged, self.events, self.commits
        );
        for (count, what) in [
            (self.deleted, "are deleted in the vault and stay so (see `restore`)"),
            (self.skipped, "files of other kinds left out"),
            (self.failed.len() as u64, "failed"),
        ] {
            if count > 0 {
                text.push_str(&format!("; {count} {what}"));
            }
        }
        text
    }
}

/// Imports files and folders; entities of files that name no type get `entity_type`, else `note`.
pub fn import(
    client: &mut dyn Client,
    paths: &[PathBuf],
    entity_type: Option<EntityType>,
    progress: &mut dyn FnMut(Step),
) -> Result<Report> {
    let device = client.request(json!({ "cmd": "id" }))?;
    let device = device.get("peer_id").and_then(Json::as_str).unwrap_or_default().to_owned();
    let default_type = entity_type.map_or_else(|| EntityType::new(markdown::DEFAULT_TYPE), Ok)?;
    let mut import = Import {
        client,
        device,
        default_type,
        seen: HashSet::new(),
        queue: Vec::new(),
        queued_bytes: 0,
        ended: false,
        batch: Batch::default(),
        report: Report::default(),
    };
    let mut files = Vec::new();
    for path in paths {
        import.walk(path, &mut files)?;
    }
    progress(Step::Total(files.len() as u64));
    for (done, (path, relative)) in files.iter().enumerate() {
        import.report.files += 1;
        if let Err(error) = import.file(path, relative) {
            import.failed(relative, error)?;
        }
        progress(Step::Done(done as u64 + 1));
    }
    import.plan()?;
    import.flush()?;
    Ok(import.report)
}

/// Whether an error is about one file or entity, so that the others can go on.
fn is_about_one(error: &Error) -> bool {
    use ErrorCode::{Deleted, Invalid, NotFound, TooLarge};
    matches!(error.code(), Deleted | Invalid | NotFound | TooLarge)
}

struct Import<'a> {
    client: &'a mut dyn Client,
    device: String,
    default_type: EntityType,
    seen: HashSet<(EntityType, EntityId)>,
    /// Documents of one type, until there are enough to read what the vault has of them.
    queue: Vec<Queued>,
    queued_bytes: usize,
    /// The engine failed: nothing goes on.
    ended: bool,
    batch: Batch,
    report: Report,
}

/// Where a document comes from.
struct Source<'a> {
    /// The file.
    place: &'a Path,
    /// Which of the file's records, as far as it tells itself.
    key: String,
    /// For messages.
    label: String,
    /// The text that it was read from.
    text: &'a [u8],
}

/// A document before it is known what the vault has of it.
struct Queued {
    document: Document,
    entity_type: EntityType,
    id: EntityId,
    label: String,
    /// What tells its source from itself after a change; `None` for an entity as it was exported.
    mark: Option<Json>,
}

/// Changes that wait to be one commit.
#[derive(Default)]
struct Batch {
    entity_type: Option<EntityType>,
    changes: Vec<Change>,
    bytes: usize,
}

struct Change {
    /// Where it comes from, for messages.
    label: String,
    is_new: bool,
    json: Json,
}

impl Import<'_> {
    fn failed(&mut self, label: &str, error: Error) -> Result<()> {
        if self.ended || (!is_about_one(&error) && error.code() != ErrorCode::Storage) {
            return Err(error);
        }
        self.report.failed.push((label.to_owned(), error.message().to_owned()));
        Ok(())
    }

    fn ask(&mut self, request: Json) -> Result<Json> {
        let answer = self.client.request(request);
        self.ended |= answer.as_ref().is_err_and(|error| !is_about_one(error));
        answer
    }

    /// Lists the files to import under a path that the user gave, each with its path relative to that, in the order of
    /// names. Hidden names are left out, and folders behind symbolic links (they may lead in circles).
    fn walk(&mut self, root: &Path, files: &mut Vec<(PathBuf, String)>) -> Result<()> {
        let facts = fs::metadata(root).map_err(|error| file_error(root, "read", &error))?;
        if !facts.is_dir() {
            let name = root.file_name().unwrap_or(root.as_os_str()).to_string_lossy().into_owned();
            files.push((root.to_owned(), name));
            return Ok(());
        }
        let mut folders = vec![(root.to_owned(), String::new())];
        while let Some((folder, prefix)) = folders.pop() {
            let mut names = BTreeSet::new();
            let entries = fs::read_dir(&folder).map_err(|error| file_error(&folder, "read", &error))?;
            for entry in entries {
                names.insert(entry.map_err(|error| file_error(&folder, "read", &error))?.file_name());
            }
            let mut found = Vec::new();
            for name in names {
                let (path, shown) = (folder.join(&name), name.to_string_lossy().into_owned());
                let relative = if prefix.is_empty() { shown.clone() } else { format!("{prefix}/{shown}") };
                let is_link = path.is_symlink();
                match fs::metadata(&path) {
                    _ if shown.starts_with('.') => {}
                    Ok(facts) if facts.is_dir() && !is_link => found.push((path, relative)),
                    Ok(facts) if facts.is_file() && Format::of(&path).is_some() => files.push((path, relative)),
                    Ok(_) => self.report.skipped += 1,
                    Err(error) => {
                        self.report.failed.push((relative, file_error(&path, "read", &error).message().to_owned()));
                    }
                }
            }
            folders.extend(found.into_iter().rev());
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, relative: &str) -> Result<()> {
        let format = Format::of(path).ok_or_else(|| {
            Error::invalid("is not a kind of file that is imported: .md, .markdown, .json, .jsonl or .ndjson")
        })?;
        let place = fs::canonicalize(path).map_err(|error| file_error(path, "read", &error))?;
        match format {
            Format::Markdown => {
                let bytes = read_bounded(path, MAX_NOTE_BYTES)?;
                let text = std::str::from_utf8(&bytes).map_err(|_| Error::invalid("is not UTF-8 text"))?;
                let (document, note) = markdown::parse(text, relative)?;
                if let Some(note) = note {
                    self.report.notes.push((relative.to_owned(), note));
                }
                let source = Source { place: &place, key: String::new(), label: relative.to_owned(), text: &bytes };
                self.document(document, source)
            }
            Format::Json => {
                let bytes = read_bounded(path, MAX_JSON_BYTES)?;
                match serde_json::from_slice(&bytes).map_err(|error| Error::invalid(format!("is not JSON: {error}")))? {
                    Json::Array(records) => {
                        for (index, record) in records.into_iter().enumerate() {
                            self.record(record, &place, index + 1, relative)?;
                        }
                        Ok(())
                    }
                    record => self.record(record, &place, 1, relative),
                }
            }
            Format::JsonLines => {
                let read = |error| file_error(path, "read", &error);
                let mut lines = BufReader::new(File::open(path).map_err(read)?);
                let mut number = 0;
                while let Some(line) = read_line(&mut lines, MAX_NOTE_BYTES as usize).map_err(read)? {
                    number += 1;
                    let record = match &line {
                        Line::TooLong => Err(Error::too_large(format!("the line is over {MAX_NOTE_BYTES} bytes"))),
                        Line::Text(text) if text.iter().all(u8::is_ascii_whitespace) => continue,
                        Line::Text(text) => serde_json::from_slice(text)
                            .map_err(|error| Error::invalid(format!("the line is not JSON: {error}"))),
                    };
                    match record {
                        Ok(record) => self.record(record, &place, number, relative)?,
                        Err(error) => self.failed(&format!("{relative}:{number}"), error)?,
                    }
                }
                Ok(())
            }
        }
    }

    /// One object of a JSON file; what is wrong with it does not stop the others.
    fn record(&mut self, record: Json, place: &Path, number: usize, relative: &str) -> Result<()> {
        let label = format!("{relative}:{number}");
        let text = record.to_string();
        let source = Source { place, key: String::new(), label: label.clone(), text: text.as_bytes() };
        let result = match record {
            Json::Object(object) => match Document::from_entity(&object) {
                Some(document) => document.and_then(|document| self.document(document, source)),
                None => self.plain_record(object, number, source),
            },
            _ => Err(Error::invalid("is not an object with the fields of an entity")),
        };
        result.or_else(|error| self.failed(&label, error))
    }

    /// An object of somebody else's: its names are fields. An `id` that is a UUID is the entity's.
    fn plain_record(&mut self, object: Map<String, Json>, number: usize, mut source: Source<'_>) -> Result<()> {
        let mut document = Document { fields: object, ..Document::default() };
        let id = document.fields.get("id").cloned().unwrap_or_default();
        document.id = id.as_str().and_then(|id| id.parse().ok());
        if document.id.is_some() {
            document.fields.remove("id");
        }
        source.key = if id.is_string() || id.is_number() { format!("id {id}") } else { format!("number {number}") };
        self.document(document, source)
    }

    /// Takes a document in; what it changes is planned when many of them can be looked up at once.
    fn document(&mut self, document: Document, source: Source<'_>) -> Result<()> {
        if document.deleted {
            self.report.unchanged += 1;
            return Ok(());
        }
        let entity_type = document.entity_type.clone().unwrap_or_else(|| self.default_type.clone());
        let id = document.id.unwrap_or_else(|| derived_id(&self.device, &entity_type, source.place, &source.key));
        if !self.seen.insert((entity_type.clone(), id)) {
            return Err(Error::invalid(format!("{entity_type} {id} stands in this import already; it is taken once")));
        }
        if self.queue.first().is_some_and(|first| first.entity_type != entity_type) {
            self.plan()?;
        }
        let mark = (!document.is_entity && !document.pristine).then(|| Json::from(source_mark(source.text)));
        self.queue.push(Queued { document, entity_type, id, label: source.label, mark });
        self.queued_bytes += source.text.len();
        if self.queue.len() >= READ_AT_ONCE || self.queued_bytes >= READ_BYTES {
            self.plan()?;
        }
        Ok(())
    }

    /// Reads what the vault has of the documents that wait, and plans what makes it say what they say.
    fn plan(&mut self) -> Result<()> {
        self.queued_bytes = 0;
        let queue = std::mem::take(&mut self.queue);
        let Some(first) = queue.first() else { return Ok(()) };
        let ids: Vec<String> = queue.iter().map(|queued| queued.id.to_string()).collect();
        let mut answer = self.ask(json!({ "cmd": "get", "entities": ids, "type": first.entity_type }))?;
        let found = answer.get_mut("entities").and_then(Json::as_array_mut).map(std::mem::take).unwrap_or_default();
        let mut found: HashMap<String, Json> =
            (found.into_iter()).filter_map(|entity| Some((entity.get("id")?.as_str()?.to_owned(), entity))).collect();
        for queued in queue {
            let (label, current) = (queued.label.clone(), found.remove(&queued.id.to_string()));
            self.plan_one(queued, current).or_else(|error| self.failed(&label, error))?;
        }
        Ok(())
    }

    /// Plans what makes the vault, which has `current` of an entity, say what a document says.
    fn plan_one(&mut self, queued: Queued, current: Option<Json>) -> Result<()> {
        let Queued { mut document, entity_type, id, label, mark } = queued;
        if current.as_ref().and_then(|entity| entity.get("deleted")).and_then(Json::as_bool) == Some(true) {
            self.report.deleted += 1;
            return Ok(());
        }
        if document.pristine && current.is_some() {
            self.report.unchanged += 1;
            return Ok(());
        }
        let mark_now = current.as_ref().and_then(|entity| entity.get("fields")?.get(IMPORT_MARK));
        let mut ops = Vec::new();
        if mark.is_none() || mark.as_ref() != mark_now {
            if mark.is_some() {
                document.fields.remove(IMPORT_MARK);
            }
            ops = operations(&document, current.as_ref())?;
        }
        if ops.is_empty() {
            self.report.unchanged += 1;
            return Ok(());
        }
        if let Some(mark) = mark {
            // Last, so that an import cut short between two changes of a note is taken up again.
            ops.push(json!({ "set": [IMPORT_MARK, mark] }));
        }
        // Before anything of it is written: a part of a note would pass for the whole.
        ops.iter().try_for_each(fits_into_an_event)?;
        let is_new = current.is_none();
        let counted = if is_new { &mut self.report.created } else { &mut self.report.updated };
        *counted += 1;
        for (ops, bytes) in in_changes(ops) {
            let json = json!({ "entity": id.to_string(), "ops": ops });
            self.push(&entity_type, Change { label: label.clone(), is_new, json }, bytes + 64)?;
        }
        Ok(())
    }

    fn push(&mut self, entity_type: &EntityType, change: Change, bytes: usize) -> Result<()> {
        let batch = &self.batch;
        let is_full = batch.changes.len() >= MAX_BATCH_SIZE || batch.bytes + bytes > COMMIT_BYTES;
        if is_full || batch.entity_type.as_ref().is_some_and(|open| open != entity_type) {
            self.flush()?;
        }
        self.batch.entity_type = Some(entity_type.clone());
        self.batch.changes.push(change);
        self.batch.bytes += bytes;
        Ok(())
    }

    /// Writes what waits as one commit. If the engine refuses it for one of the entities, each goes on its own.
    fn flush(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.batch);
        let Some(entity_type) = batch.entity_type.filter(|_| !batch.changes.is_empty()) else { return Ok(()) };
        match self.write(&entity_type, &batch.changes) {
            Err(error) if is_about_one(&error) => {}
            result => return result,
        }
        let mut refused: Option<String> = None;
        for change in batch.changes {
            // The rest of a note of which a part was refused would leave a torn note that passes for imported.
            if refused.as_ref() == Some(&change.label) {
                continue;
            }
            if let Err(error) = self.write(&entity_type, std::slice::from_ref(&change)) {
                let counted = if change.is_new { &mut self.report.created } else { &mut self.report.updated };
                *counted = counted.saturating_sub(1);
                self.failed(&change.label, error)?;
                refused = Some(change.label);
            }
        }
        Ok(())
    }

    fn write(&mut self, entity_type: &EntityType, changes: &[Change]) -> Result<()> {
        let list: Vec<&Json> = changes.iter().map(|change| &change.json).collect();
        self.ask(json!({ "cmd": "put", "type": entity_type, "changes": list }))?;
        self.report.commits += 1;
        self.report.events += changes.len() as u64;
        Ok(())
    }
}

/// Fails if an operation alone is more than the engine takes in one event.
fn fits_into_an_event(op: &Json) -> Result<()> {
    const SMALL: usize = 256 << 10;
    /// What an event has beside the operation's content.
    const REST: usize = 1 << 10;
    let text = op.to_string();
    if text.len() > SMALL && values::from_json(op)?.to_bytes().len() + REST > MAX_EVENT_BYTES {
        let start = crate::output::shorten(&text, 40);
        return Err(Error::too_large(format!("has a value over the limit of {MAX_EVENT_BYTES} bytes: {start}")));
    }
    Ok(())
}

/// The id of what a file holds: the same for the same file on the same device, so that importing it again updates the
/// same entity; never the same for two files, so that none overwrites another.
fn derived_id(device: &str, entity_type: &EntityType, place: &Path, key: &str) -> EntityId {
    let mut name = Vec::new();
    for part in
        [device.as_bytes(), entity_type.as_str().as_bytes(), place.as_os_str().as_encoded_bytes(), key.as_bytes()]
    {
        name.extend_from_slice(&(part.len() as u64).to_le_bytes());
        name.extend_from_slice(part);
    }
    let [bytes @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] =
        Hash::derive("privstack-sync 2026 id of an imported file", &name).0;
    // A version 8 UUID: bits of one's own (RFC 9562).
    EntityId(uuid::Builder::from_custom_bytes(bytes).into_uuid().into_bytes())
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Format {
    Markdown,
    Json,
    JsonLines,
}

impl Format {
    fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "md" | "markdown" => Some(Format::Markdown),
            "json" => Some(Format::Json),
            "jsonl" | "ndjson" => Some(Format::JsonLines),
            _ => None,
        }
    }
}
