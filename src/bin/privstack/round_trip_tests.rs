//! Import and export together.

use std::fs;
use std::path::Path;

use privstack_sync::crdt::FieldValue;
use privstack_sync::types::FieldKind;
use serde_json::{Value as Json, json};

use crate::client::{Client, LocalClient};
use crate::export::{Format, Options, export};
use crate::import::import;
use crate::testing::Memory;

fn put(path: impl AsRef<Path>, text: impl AsRef<[u8]>) {
    fs::create_dir_all(path.as_ref().parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn take_in(vault: &Memory, path: &Path) -> Json {
    import(&mut LocalClient(vault), &[path.to_owned()], None, &mut |_| ()).unwrap().to_json()
}

fn write_out(vault: &Memory, path: &Path, format: Format) -> Json {
    export(&mut LocalClient(vault), path, Options { format, overwrite: false }, &mut |_| ()).unwrap().to_json()
}

fn commits(vault: &Memory) -> usize {
    vault.commits.lock().unwrap().len()
}

fn titles(vault: &Memory) -> Vec<String> {
    let entities = vault.entities.lock().unwrap();
    let mut titles: Vec<String> = entities
        .values()
        .map(|view| match view.field("title") {
            Some(FieldValue::Register(privstack_sync::types::Value::Text(title))) => title.clone(),
            other => format!("{other:?}"),
        })
        .collect();
    titles.sort();
    titles
}

#[test]
fn a_folder_of_notes_goes_in_and_comes_out() {
    let folder = tempfile::tempdir().unwrap();
    let notes = folder.path().join("notes");
    put(notes.join("a.md"), "---\ntags: [x, y]\nrating: 4.5\n---\n\n# Alpha\ntext\n");
    put(notes.join("deep/b.markdown"), "no heading");
    put(notes.join(".hidden/c.md"), "# Hidden");
    put(notes.join("picture.png"), [0xff]);
    put(notes.join("latin1.md"), [b'a', 0xe4]);
    #[cfg(unix)]
    std::os::unix::fs::symlink("..", notes.join("loop")).unwrap();
    let vault = Memory::default();
    let report = take_in(&vault, &notes);
    assert_eq!((&report["created"], &report["skipped"]), (&json!(2), &json!(if cfg!(unix) { 2 } else { 1 })));
    assert_eq!(report["failed"][0]["file"], "latin1.md");
    assert_eq!(titles(&vault), ["Alpha", "b"]);

    // The same files again: nothing is written. A changed one: only that.
    let before = commits(&vault);
    assert_eq!(take_in(&vault, &notes)["unchanged"], 2);
    assert_eq!(commits(&vault), before);
    put(notes.join("deep/b.markdown"), "# Beta");
    let report = take_in(&vault, &notes);
    assert_eq!((&report["updated"], &report["unchanged"]), (&json!(1), &json!(1)));
    assert_eq!(titles(&vault), ["Alpha", "Beta"]);

    // Out, into another vault, and out again: the same files.
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    write_out(&vault, &first, Format::Md);
    assert!(first.join("a.md").is_file() && first.join("deep/b.md").is_file());
    let other = Memory::default();
    assert_eq!(take_in(&other, &first)["created"], 2);
    assert_eq!(without_marks(&other), without_marks(&vault));
    write_out(&other, &second, Format::Md);
    for name in ["a.md", "deep/b.md"] {
        assert_eq!(fs::read(first.join(name)).unwrap(), fs::read(second.join(name)).unwrap());
    }
    assert_eq!(take_in(&vault, &first)["unchanged"], 2);

    // An export that nobody touched does not undo what was edited in the vault since; one that somebody did is taken.
    put(notes.join("a.md"), "# Gamma");
    take_in(&vault, &notes);
    assert_eq!(take_in(&vault, &first)["unchanged"], 2);
    let touched = fs::read_to_string(first.join("deep/b.md")).unwrap().replace("# Beta", "# Delta");
    put(first.join("deep/b.md"), touched.replace("title: Beta", "title: Delta"));
    assert_eq!(take_in(&vault, &first)["updated"], 1);
    assert_eq!(titles(&vault), ["Delta", "Gamma"]);
    assert_eq!(take_in(&vault, &first)["unchanged"], 2);
}

/// The entities without what import notes down for itself.
fn without_marks(vault: &Memory) -> Vec<privstack_sync::crdt::EntityView> {
    let mut views: Vec<_> = vault.entities.lock().unwrap().values().cloned().collect();
    views.iter_mut().for_each(|view| drop(view.fields.remove(crate::document::IMPORT_MARK)));
    views
}

#[test]
fn an_unchanged_file_does_not_undo_what_was_edited_in_the_vault_since() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path().join("a.md"), "# Old");
    let vault = Memory::default();
    take_in(&vault, folder.path());
    let id = vault.entities.lock().unwrap().keys().next().unwrap().1;
    let edit = json!({"cmd": "put", "type": "note", "entity": id.to_string(), "ops": [{"set": ["title", "New"]}]});
    LocalClient(&vault).request(edit).unwrap();
    assert_eq!(take_in(&vault, folder.path())["unchanged"], 1);
    assert_eq!(titles(&vault), ["New"]);
    // And what was deleted stays deleted, even if the file changes.
    LocalClient(&vault).request(json!({"cmd": "rm", "entity": id.to_string()})).unwrap();
    put(folder.path().join("a.md"), "# Newer");
    assert_eq!(take_in(&vault, folder.path())["deleted"], 1);
}

#[test]
fn every_kind_of_field_survives_every_format() {
    let vault = Memory::default();
    let ops = json!([
        {"set": ["title", "../../etc/x"]}, {"set": ["path", "../../../etc/passwd"]}, {"set": ["tags", "no set"]},
        {"set": ["bytes", {"$bytes": "AAH/"}]}, {"set": ["when", "2026-11-22"]}, {"set": ["nan", {"$float": "nan"}]},
        {"set": ["map", {"$map": {"$bytes": [null, 1.0]}}]}, {"add": ["n", 7]}, {"insert": ["people", "Ada"]},
        {"text_insert": ["summary", 0, "of\nlines"]}, {"text_insert": ["body", 0, "---\nbody\n---\n"]}
    ]);
    for entity_type in ["note", "a/b"] {
        let request = json!({"cmd": "put", "type": entity_type, "ops": ops});
        LocalClient(&vault).request(request).unwrap();
    }
    for format in [Format::Md, Format::Json, Format::Jsonl] {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let report = write_out(&vault, &out, format);
        assert_eq!((&report["entities"], &report["files"]), (&json!(2), &json!(2)), "{report}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was written beside the folder");
        let other = Memory::default();
        let report = take_in(&other, &out);
        assert_eq!((&report["created"], &report["failed"]), (&json!(2), &json!([])));
        assert_eq!(*other.entities.lock().unwrap(), *vault.entities.lock().unwrap(), "{format:?}");
        assert_eq!(take_in(&vault, &out)["unchanged"], 2);
    }
}

#[test]
fn an_export_writes_over_its_own_files_only() {
    let folder = tempfile::tempdir().unwrap();
    let vault = Memory::default();
    for title in ["same", "Same"] {
        let request = json!({"cmd": "put", "type": "note", "ops": [{"set": ["title", title]}]});
        LocalClient(&vault).request(request).unwrap();
    }
    assert_eq!(write_out(&vault, folder.path(), Format::Md)["files"], 2);
    let names = |folder: &Path| {
        let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let first = names(folder.path());
    assert_eq!(first.len(), 2);
    assert_eq!(write_out(&vault, folder.path(), Format::Md)["failed"], json!([]));
    assert_eq!(names(folder.path()), first);
    put(folder.path().join("same.md"), "mine");
    let report = write_out(&vault, folder.path(), Format::Md);
    assert_eq!(report["failed"].as_array().unwrap().len(), 1);
    assert_eq!(fs::read_to_string(folder.path().join("same.md")).unwrap(), "mine");
    put(folder.path().join("note.json"), "[]");
    let options = Options { format: Format::Json, overwrite: false };
    assert!(export(&mut LocalClient(&vault), folder.path(), options, &mut |_| ()).is_err());
}

#[test]
#[cfg(unix)]
fn a_path_of_a_peer_does_not_lead_through_a_link_out_of_the_export() {
    let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::os::unix::fs::symlink(outside.path(), folder.path().join("link")).unwrap();
    let vault = Memory::default();
    let request = json!({"cmd": "put", "type": "note", "ops": [{"set": ["path", "link/x.md"]}]});
    LocalClient(&vault).request(request).unwrap();
    assert_eq!(write_out(&vault, folder.path(), Format::Md)["failed"].as_array().unwrap().len(), 1);
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn many_records_are_several_commits_and_what_is_wrong_does_not_stop_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tasks.jsonl");
    let mut lines: Vec<String> =
        (0..2_500).map(|n| json!({"id": n, "title": format!("task {n}"), "done": n % 2 == 0}).to_string()).collect();
    lines[3] = "{broken".to_owned();
    lines[5] = json!({"id": 5, "": 1}).to_string();
    lines[7] = json!({"id": 7, "title": "x".repeat(1 << 20)}).to_string();
    lines.push(json!({"id": 1, "title": "again"}).to_string());
    put(&path, lines.join("\n"));
    let vault = Memory::default();
    let report = take_in(&vault, &path);
    assert_eq!(report["created"], 2_497, "{}", report["failed"]);
    let failed: Vec<&str> =
        report["failed"].as_array().unwrap().iter().map(|one| one["file"].as_str().unwrap()).collect();
    let mut expected = ["tasks.jsonl:4", "tasks.jsonl:6", "tasks.jsonl:8", "tasks.jsonl:2501"];
    let mut failed = failed.clone();
    failed.sort();
    expected.sort();
    assert_eq!(failed, expected);
    assert_eq!(report["events"], 2_497);
    let before = commits(&vault);
    assert_eq!(take_in(&vault, &path)["unchanged"], 2_497);
    assert_eq!(commits(&vault), before);
}

#[test]
fn a_text_larger_than_an_event_goes_in_whole_and_is_changed_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.md");
    let long = "häßlich 😀\n".repeat(200_000);
    put(&path, &long);
    let vault = Memory::default();
    assert_eq!(take_in(&vault, &path)["failed"], json!([]));
    put(&path, format!("{long}end"));
    let before: usize = vault.commits.lock().unwrap().iter().sum();
    assert_eq!(take_in(&vault, &path)["updated"], 1);
    let after: usize = vault.commits.lock().unwrap().iter().sum();
    assert_eq!(after - before, 1, "one small event");
    let entities = vault.entities.lock().unwrap();
    let view = entities.values().next().unwrap();
    let Some(FieldValue::Text(text, _)) = view.field_of("body", FieldKind::Text) else { panic!("no text") };
    assert_eq!(*text, format!("{long}end"));
}
