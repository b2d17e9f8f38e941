//! Data folders that were copied and run twice, or put back from an old copy: no acknowledged edit is lost.

use serde_json::json;

use crate::device::*;

#[test]
fn a_folder_copied_and_run_twice_at_once_loses_no_edit() {
    let a = Device::with_vault("a");
    let c = Device::joined(&a, "c");
    let shared = json!(a.ok(&["put", "note", "title=before the copy", "count+=0"]));
    let copy = Device::at(a.beside("copy"));
    a.copied_to(&copy.data);
    assert_eq!(a.ok(&["id"]), copy.ok(&["id"]));

    let mut at_c = c.run(QUIC, &[]);
    let mut at_a = a.run_with(QUIC, &at_c);
    at_a.wait_for_event("peer_connected");
    let mut at_copy = copy.run_with(QUIC, &at_c);
    until_same_state(&mut [&mut at_a, &mut at_copy, &mut at_c]);
    let mut notes = Vec::new();
    for round in 0..5 {
        notes.push(at_a.note(&format!("a {round}")));
        notes.push(at_copy.note(&format!("copy {round}")));
        notes.push(at_c.note(&format!("c {round}")));
        for (side, name) in [(&mut at_a, "a"), (&mut at_copy, "copy"), (&mut at_c, "c")] {
            let ops = json!([{"add": ["count", 1]}, {"insert": ["tags", format!("{name} {round}")]}]);
            side.ask(json!({"cmd": "put", "type": "note", "entity": shared, "ops": ops}));
        }
    }
    until_same_state(&mut [&mut at_a, &mut at_copy, &mut at_c]);
    for side in [&mut at_a, &mut at_copy, &mut at_c] {
        // Once each: what is made again under a new name does not count twice.
        let fields = side.fields(&shared);
        assert_eq!((&fields["count"], fields["tags"].as_array().unwrap().len()), (&json!(15), 15));
        for (number, id) in notes.iter().enumerate() {
            let title = format!("{} {}", ["a", "copy", "c"][number % 3], number / 3);
            assert_eq!(side.fields(id)["title"], json!(title));
        }
    }
}

#[test]
fn a_folder_put_back_from_an_old_copy_loses_no_edit() {
    let a = Device::with_vault("a");
    let b = Device::joined(&a, "b");
    let first = a.ok(&["put", "note", "title=first", "body@0+text"]);
    let old = a.beside("old");
    a.copied_to(&old);

    let mut at_b = b.run(TCP, &[]);
    let mut at_a = a.run_with(TCP, &at_b);
    let mut notes: Vec<_> = (0..5).map(|n| at_a.note(&format!("after the copy {n}"))).collect();
    at_a.edit(&json!(first), json!([{"text_insert": ["body", 4, " and more"]}]));
    until_equal(&mut [&mut at_a, &mut at_b]);
    at_a.end();

    std::fs::remove_dir_all(&a.data).unwrap();
    std::fs::rename(&old, &a.data).unwrap();
    // Written before it hears of its own later edits: its log has two branches now.
    notes.push(json!(a.ok(&["put", "note", "title=on the old copy"])));
    a.ok(&["put", "note", &first, "body@0+the "]);
    let mut at_a = a.run_with(TCP, &at_b);
    until_same_state(&mut [&mut at_a, &mut at_b]);
    for side in [&mut at_a, &mut at_b] {
        assert_eq!(side.fields(&json!(first))["body"], "the text and more");
        for (number, id) in notes.iter().enumerate() {
            let title = if number < 5 { format!("after the copy {number}") } else { "on the old copy".into() };
            assert_eq!(side.fields(id)["title"], json!(title));
        }
    }
    // And it goes on as one device.
    let note = at_a.note("later");
    at_b.wait_for_update(&note);
    until_same_state(&mut [&mut at_a, &mut at_b]);
}
