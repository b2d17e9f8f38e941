//! Whole syncs: `make bench-sync`, `QUICK=1 make bench-sync` for under a minute.
//!
//! Bytes are our stream's frames with their length prefixes, both directions, before transport encryption. CPU seconds
//! are those of both sides together. Each figure is the median of five runs after a warm-up (of one with `QUICK=1`), and
//! every row ends with equal digests. Events are written in commits of 1,000 (as `import` makes them) where a row does
//! not say another number.

mod support;

use std::cell::Cell;
use std::rc::Rc;

use privstack_sync::crdt::{Edit, FieldValue};
use privstack_sync::engine::{Call, EntityEdit, Reply};
use privstack_sync::policy::PolicyKind;
use privstack_sync::store::MemoryStore;
use support::child::{self, Job};
use support::meter::{Meter, Taken};
use support::others::{self, Keys};
use support::pair::{Device, Pair, Rows2, Traffic};
use support::report::{Report, Row, grouped};
use support::work::{self, BATCH, Order};
use support::{desktop, median, quick, repeats};

/// Measures some rows.
type Part = fn(&mut Report);

fn main() {
    if child::main() {
        return;
    }
    // `cargo bench NAME` runs the parts whose name has NAME in it.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let mut report = Report::default();
    let parts: [(&str, Part); 11] = [
        ("first", first_syncs),
        ("policy", policy_checks),
        ("disk", disk_syncs),
        ("quic", quic),
        ("text", text),
        ("nothing", nothing_changed),
        ("greeting", greeting),
        ("ten", ten_changed),
        ("memory", memory),
        ("peak", peak),
        ("open", open),
    ];
    for (name, part) in parts {
        if wanted.is_empty() || wanted.iter().any(|wanted| name.contains(wanted.as_str())) {
            part(&mut report);
        }
    }
    report.finish();
}

fn clock() -> Rc<Cell<u64>> {
    Rc::new(Cell::new(0))
}

/// Median figures of some runs.
struct Figures {
    cpu: f64,
    wall: f64,
    traffic: Traffic,
}

fn figures(runs: Vec<(Taken, Traffic)>) -> Figures {
    Figures {
        cpu: median(runs.iter().map(|(taken, _)| taken.cpu).collect()),
        wall: median(runs.iter().map(|(taken, _)| taken.wall).collect()),
        traffic: runs.last().map(|(_, traffic)| *traffic).unwrap_or_default(),
    }
}

/// First syncs in memory: `write` makes the data, a joined device without any fetches it.
fn in_memory(write: impl Fn(&mut Device)) -> (Figures, Traffic, u64) {
    let clock = clock();
    let mut a = Device::first(Rows2::memory(), &clock);
    let Rows2::Memory(joined) = Device::second(&mut a, Rows2::memory()).store else { unreachable!() };
    write(&mut a);
    let mut runs = Vec::new();
    let mut inside = Traffic::default();
    let fresh = |joined: &MemoryStore| Device::open(2, Rows2::Memory(joined.clone()), &clock);
    let b = fresh(&joined);
    let mut pair = Pair::new(a, b);
    for run in 0..=repeats() {
        pair.greet();
        // The warm-up run also looks into the frames.
        pair.look_inside = run == 0;
        let meter = Meter::start();
        pair.run();
        let taken = meter.taken();
        match run {
            0 => inside = pair.traffic,
            _ => runs.push((taken, pair.traffic)),
        }
        pair.assert_equal();
        pair.part();
        pair.b = fresh(&joined);
    }
    let events = pair.a.events();
    (figures(runs), inside, events)
}

fn first_syncs(report: &mut Report) {
    let entities = if quick() { 1_000 } else { 10_000 };
    let events = entities * 10;
    let cases = [
        (Order::Passes, BATCH, "in passes, 1,000 events a commit (headline)", "1,100,000"),
        (Order::EntityByEntity, BATCH, "entity by entity, 1,000 events a commit", ""),
        (Order::Passes, 1, "in passes, 1 event a commit", ""),
    ];
    for (order, batch, name, target) in cases {
        let (figures, inside, held) = in_memory(|device| work::w2(device, entities, order, batch));
        assert_eq!(held, events as u64);
        report.add(Row {
            workload: "W2",
            row: format!("first sync, {name}"),
            entities: Some(entities as u64),
            events: Some(held),
            store: Some("memory"),
            transport: Some("memory"),
            cpu_s: Some(figures.cpu),
            wall_s: Some(figures.wall),
            bytes: Some(figures.traffic.bytes),
            messages: Some(figures.traffic.messages),
            round_trips: Some(figures.traffic.round_trips()),
            figure: format!("{} events a CPU second", grouped(held as f64 / figures.cpu)),
            target,
            ..Row::default()
        });
        // Values are 25 letters, and each entity has a first mention of 16 bytes.
        let needed = held * 25 + entities as u64 * 16;
        let over = inside.plain_bytes.saturating_sub(needed) as f64 / held as f64;
        report.add(Row {
            workload: "W2",
            row: format!("wire bytes an event over values and first mentions, before compression, {name}"),
            entities: Some(entities as u64),
            events: Some(held),
            store: Some("memory"),
            transport: Some("memory"),
            bytes: Some(inside.plain_bytes),
            messages: Some(inside.messages),
            round_trips: Some(inside.round_trips()),
            figure: format!("{over:.1} B (sent: {:.1} B an event in all)", inside.bytes as f64 / held as f64),
            target: if target.is_empty() { "" } else { "12 B" },
            ..Row::default()
        });
    }
    for size in if quick() { vec![10_000] } else { vec![1_000, 10_000, 100_000, 1_000_000] } {
        let (figures, _, held) = in_memory(|device| work::w1(device, size));
        report.add(first_sync_row("W1", "first sync, 240 B a value", size.min(1_000), held, "memory", figures));
    }
    for size in if quick() { vec![10_000] } else { vec![100_000] } {
        let (figures, _, held) = in_memory(|device| drop(work::w3(device, size)));
        report.add(first_sync_row("W3", "first sync", size, held, "memory", figures));
    }
    beside_ours(report, entities);
}

fn first_sync_row(
    workload: &'static str,
    name: &str,
    entities: usize,
    events: u64,
    store: &'static str,
    figures: Figures,
) -> Row {
    Row {
        workload,
        row: format!("{name}, {} events", grouped(events as f64)),
        entities: Some(entities as u64),
        events: Some(events),
        store: Some(store),
        transport: Some("memory"),
        cpu_s: Some(figures.cpu),
        wall_s: Some(figures.wall),
        bytes: Some(figures.traffic.bytes),
        messages: Some(figures.traffic.messages),
        round_trips: Some(figures.traffic.round_trips()),
        figure: format!("{} events a CPU second", grouped(events as f64 / figures.cpu)),
        ..Row::default()
    }
}

fn beside_ours(report: &mut Report, entities: usize) {
    let events = entities as u64 * 10;
    let mut add = |name: &str, runs: Vec<(Taken, Traffic)>| {
        report.add(first_sync_row("W2", name, entities, events, "memory", figures(runs)));
    };
    let measured = |run: usize, taken: Taken, bytes: u64, runs: &mut Vec<(Taken, Traffic)>| {
        if run > 0 {
            runs.push((taken, Traffic { bytes, ..Traffic::default() }));
        }
    };
    let docs = others::yrs_w2(entities);
    let mut runs = Vec::new();
    for run in 0..=repeats() {
        let meter = Meter::start();
        let (copies, bytes) = others::yrs_first_sync(&docs);
        measured(run, meter.taken(), bytes, &mut runs);
        assert!(docs.iter().zip(&copies).all(|(a, b)| others::yrs_alike(a, b)));
    }
    add("yrs beside it: documents encoded, decoded, applied; unsigned", runs);
    drop(docs);
    let mut docs = others::automerge_w2(entities);
    let mut runs = Vec::new();
    for run in 0..=repeats() {
        let meter = Meter::start();
        let (mut copies, bytes) = others::automerge_first_sync(&mut docs);
        measured(run, meter.taken(), bytes, &mut runs);
        assert!(docs.iter_mut().zip(&mut copies).all(|(a, b)| a.get_heads() == b.get_heads()));
    }
    add("automerge beside it: documents saved, loaded; unsigned", runs);
}

/// The same first sync in a personal vault, and in an enterprise vault of as many devices, with teams and lists where the
/// other has names, so that both have as many signed operations: what differs is evaluating and asking the rules. Runs take
/// turns, and the quickest of each are compared: what is looked for is less than what medians move by. With
/// `POLICY=personal` or `POLICY=enterprise` that vault alone syncs once, for a tool that counts the instructions of
/// `timed_run`: these do not move.
fn policy_checks(report: &mut Report) {
    let entities = if quick() { 1_000 } else { 10_000 };
    let only = std::env::var("POLICY").ok();
    for (batch, name) in [(BATCH, "1,000 events a commit"), (1, "1 event a commit")] {
        let clock = clock();
        let mut pairs = [PolicyKind::Personal, PolicyKind::Enterprise].map(|policy| {
            let mut a = Device::first_of(policy, Rows2::memory(), &clock);
            let b = Device::second(&mut a, Rows2::memory());
            let peers = [a.peer, b.peer];
            let Rows2::Memory(joined) = b.store else { unreachable!() };
            work::organise(&mut a, policy, &peers);
            for part in 0..10 {
                work::w2(&mut a, entities / 10, Order::Passes, batch);
                // So the author's log names other membership heads from here on.
                work::reorganise(&mut a, policy, part);
            }
            let b = Device::open(2, Rows2::Memory(joined.clone()), &clock);
            (Pair::new(a, b), joined, Vec::new())
        });
        if let Some(only) = &only {
            let [(personal, ..), (enterprise, ..)] = &mut pairs;
            let pair = if only == "personal" { personal } else { enterprise };
            pair.greet();
            timed_run(pair, 0, &mut Vec::new());
            continue;
        }
        for run in 0..=repeats() * 5 {
            for (pair, joined, runs) in &mut pairs {
                pair.greet();
                timed_run(pair, run, runs);
                pair.part();
                pair.b = Device::open(2, Rows2::Memory(joined.clone()), &clock);
            }
        }
        let events = entities as u64 * 10;
        let quickest =
            |runs: &[(Taken, Traffic)]| runs.iter().map(|(taken, _)| taken.cpu).fold(f64::INFINITY, f64::min);
        let [personal, enterprise] = pairs.map(|(_, _, runs)| runs);
        let more = (quickest(&enterprise) / quickest(&personal) - 1.0) * 100.0;
        let enterprise = figures(enterprise);
        let name = format!("first sync, enterprise vault, 50 devices in 5 teams, 20 lists, {name}");
        let mut row = first_sync_row("W2", &name, entities, events, "memory", enterprise);
        row.figure = format!("{more:+.1} % CPU against a personal vault ({})", row.figure);
        row.target = "5 %";
        report.add(row);
    }
}

/// Lets both talk until they are equal; the first run only warms up.
#[inline(never)]
fn timed_run(pair: &mut Pair, run: usize, runs: &mut Vec<(Taken, Traffic)>) {
    let meter = Meter::start();
    pair.run();
    if run > 0 {
        runs.push((meter.taken(), pair.traffic));
    }
    pair.assert_equal();
}

fn disk_syncs(report: &mut Report) {
    let entities = if quick() { 1_000 } else { 10_000 };
    for (batch, name, target) in
        [(BATCH, "1,000 events a commit (headline)", "250,000 a second"), (1, "1 event a commit", "")]
    {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = clock();
        let mut a = Device::first(Rows2::disk(&folder.path().join("a")), &clock);
        work::w2(&mut a, entities, Order::Passes, batch);
        let mut runs = Vec::new();
        let mut held = 0;
        for run in 0..=repeats() {
            let store = Rows2::disk(&folder.path().join(format!("b{run}")));
            let b = Device::second(&mut a, store);
            let mut pair = Pair::new(a, b);
            pair.greet();
            timed_run(&mut pair, run, &mut runs);
            held = pair.b.events();
            pair.part();
            a = pair.a;
        }
        let figures = figures(runs);
        let wall = held as f64 / figures.wall;
        let cpu = grouped(held as f64 / figures.cpu);
        let mut row =
            first_sync_row("W2", &format!("first sync, disk on both ends, {name}"), entities, held, "disk", figures);
        row.figure = format!("{} events a second ({cpu} a CPU second)", grouped(wall));
        row.target = target;
        report.add(row);
    }
}

fn quic(report: &mut Report) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let entities = if quick() { 1_000 } else { 10_000 };
        let events = entities as u64 * 10;
        let folder = tempfile::tempdir().expect("a folder");
        let a = desktop::first(&folder.path().join("a")).await;
        desktop::w2(&a, entities).await;
        let (mut runs, mut last) = (Vec::new(), None);
        for run in 0..=repeats() {
            let (b, taken) = desktop::join(&a, &folder.path().join(format!("b{run}"))).await;
            if run > 0 {
                runs.push((taken, Traffic::default()));
            }
            if let Some(before) = last.replace(b) {
                before.stop().await.expect("an end");
            }
        }
        let figures = figures(runs);
        report.add(Row {
            workload: "W2",
            row: "first sync, disk on both ends, QUIC on loopback, 1,000 events a commit".into(),
            entities: Some(entities as u64),
            events: Some(events),
            store: Some("disk"),
            transport: Some("quic"),
            cpu_s: Some(figures.cpu),
            wall_s: Some(figures.wall),
            figure: format!(
                "{} events a second ({} a CPU second)",
                grouped(events as f64 / figures.wall),
                grouped(events as f64 / figures.cpu)
            ),
            ..Row::default()
        });
        let b = last.expect("a second device");
        let times = if quick() { 50 } else { 300 };
        let (durable, seen) = desktop::edits(&a, &b, times).await;
        let raw = desktop::raw_sync(folder.path(), times);
        for (what, seconds, target) in [
            ("durable", durable, "0.5 ms (median)"),
            ("seen by the other app on loopback", seen, "5 ms (median)"),
            ("a raw file with fdatasync beside it", raw, ""),
        ] {
            report.add(Row {
                workload: "W2",
                row: format!("one local edit: {what}"),
                entities: Some(entities as u64),
                events: Some(1),
                store: Some("disk"),
                transport: Some("quic"),
                wall_s: Some(seconds),
                figure: format!("{:.2} ms", seconds * 1e3),
                target,
                ..Row::default()
            });
        }
        b.stop().await.expect("an end");
        a.stop().await.expect("an end");
    });
}

fn text(report: &mut Report) {
    let count = if quick() { 1_000 } else { 20_000 };
    let edits = others::typing(count);
    for (group, name) in [
        (100, "100 keystrokes an event"),
        (1, "1 keystroke a change, 100 changes a commit"),
        (0, "1 keystroke a commit"),
    ] {
        // On equal transactions (yrs joins the keystrokes of one too), and as a transaction a keystroke.
        let transactions = if group == 0 { &[1][..] } else { &[100, 1][..] };
        let mut plain = vec![Vec::new(); transactions.len()];
        let mut ours = Vec::new();
        for run in 0..=repeats() {
            let (shown, ours_taken, traffic) = typed(&edits, group);
            for (plain, size) in plain.iter_mut().zip(transactions) {
                let meter = Meter::start();
                let (expected, bytes) = others::yrs_typing(&edits, *size);
                let taken = meter.taken();
                assert_eq!(shown, expected);
                if run > 0 {
                    plain.push((taken, Traffic { bytes, ..Traffic::default() }));
                }
            }
            if run > 0 {
                ours.push((ours_taken, traffic));
            }
        }
        let ours = figures(ours);
        let plain: Vec<Figures> = plain.into_iter().map(figures).collect();
        let slower = (ours.cpu / plain[0].cpu - 1.0) * 100.0;
        let figure = format!("{} edits a CPU second: {slower:+.0} % time", grouped(count as f64 / ours.cpu));
        let mut row = first_sync_row("text", &format!("text, {name}"), 1, count as u64, "memory", ours);
        (row.figure, row.target) = (figure, if group == 100 { "at most 20 % slower" } else { "" });
        report.add(row);
        for (plain, size) in plain.into_iter().zip(transactions) {
            let row = format!("plain yrs, {name}, a transaction for {size}");
            report.add(first_sync_row("text", &row, 1, count as u64, "memory", plain));
        }
    }
}

/// One device types, the other follows live, and its app reads the text at the end.
fn typed(edits: &[Keys], group: usize) -> (String, Taken, Traffic) {
    let clock = clock();
    let mut a = Device::first(Rows2::memory(), &clock);
    let b = Device::second(&mut a, Rows2::memory());
    let id = a.write(work::write(vec![EntityEdit { id: None, edits: vec![Edit::Create] }]))[0];
    let mut pair = Pair::new(a, b);
    pair.greet();
    pair.run();
    let body = work::field("body");
    let edit = |keys: &Keys| match keys {
        Keys::Insert(at, letters) => Edit::TextInsert(body.clone(), *at, letters.clone()),
        Keys::Delete(at, length) => Edit::TextDelete(body.clone(), *at, *length),
    };
    let meter = Meter::start();
    for some in edits.chunks(if group == 0 { 1 } else { 100 }) {
        let changes = match group {
            100 => vec![EntityEdit { id: Some(id), edits: some.iter().map(edit).collect() }],
            _ => some.iter().map(|keys| EntityEdit { id: Some(id), edits: vec![edit(keys)] }).collect(),
        };
        pair.a.write(work::write(changes));
        pair.run();
    }
    let read = |device: &mut Device| match device.call(Call::Get { entity_type: Some(work::note()), id }) {
        Reply::Entities(views) => match views.first().and_then(|view| view.field("body")) {
            Some(FieldValue::Text(text, _)) => text.clone(),
            other => panic!("a text reads as {other:?}"),
        },
        other => panic!("a get answered {other:?}"),
    };
    let shown = read(&mut pair.b);
    let taken = meter.taken();
    pair.assert_equal();
    (shown, taken, pair.traffic)
}

/// Two devices in sync with W3, and the ids.
fn w3_in_sync(entities: usize, live: bool) -> (Pair, Vec<privstack_sync::types::EntityId>) {
    let clock = clock();
    let mut a = Device::first(Rows2::memory(), &clock);
    let b = Device::second(&mut a, Rows2::memory());
    let ids = work::w3(&mut a, entities);
    let store = std::mem::replace(&mut a.store, Rows2::memory());
    let mut pair = Pair::new(Device::open_with(1, store, &clock, live), b);
    pair.greet();
    pair.run();
    pair.force_sync();
    pair.traffic = Traffic::default();
    (pair, ids)
}

fn nothing_changed(report: &mut Report) {
    for entities in if quick() { vec![10_000] } else { vec![100_000, 1_000_000] } {
        let (mut pair, _) = w3_in_sync(entities, true);
        let times = 1_000;
        let mut runs = Vec::new();
        for run in 0..=repeats() {
            let meter = Meter::start();
            for _ in 0..times {
                pair.traffic = Traffic::default();
                pair.force_sync();
            }
            if run > 0 {
                runs.push((meter.taken(), pair.traffic));
            }
        }
        pair.assert_equal();
        let figures = figures(runs);
        let (cpu, wall) = (figures.cpu / f64::from(times), figures.wall / f64::from(times));
        let traffic = figures.traffic;
        report.add(Row {
            workload: "W3",
            row: format!("nothing changed, {} entities", grouped(entities as f64)),
            entities: Some(entities as u64),
            events: Some(0),
            store: Some("memory"),
            transport: Some("memory"),
            cpu_s: Some(cpu),
            wall_s: Some(wall),
            bytes: Some(traffic.bytes),
            messages: Some(traffic.messages),
            round_trips: Some(traffic.round_trips()),
            figure: format!(
                "{} B both ways, {} round trips, {:.1} microseconds of CPU",
                traffic.bytes,
                traffic.round_trips(),
                cpu * 1e6
            ),
            target: "128 B, 1 round trip, 50 microseconds",
            ..Row::default()
        });
    }
}

fn greeting(report: &mut Report) {
    let clock = clock();
    let mut a = Device::first(Rows2::memory(), &clock);
    let b = Device::second(&mut a, Rows2::memory());
    work::w3(&mut a, 1_000);
    let mut pair = Pair::new(a, b);
    let mut add = |name: &str, traffic: Traffic, target: &'static str| {
        report.add(Row {
            workload: "W3",
            row: format!("greeting, {name}"),
            store: Some("memory"),
            transport: Some("memory"),
            bytes: Some(traffic.bytes),
            messages: Some(traffic.messages),
            round_trips: Some(traffic.round_trips()),
            figure: format!("{} B, {} round trips", traffic.bytes, traffic.round_trips()),
            target,
            ..Row::default()
        });
    };
    let first = pair.greet();
    pair.run();
    pair.assert_equal();
    pair.part();
    let again = pair.greet();
    pair.run();
    pair.assert_equal();
    add("devices that know each other", again, "400 B, 1.5 round trips");
    add("the first of a new device", first, "");
}

fn ten_changed(report: &mut Report) {
    let entities = if quick() { 10_000 } else { 100_000 };
    let (mut pair, ids) = w3_in_sync(entities, true);
    let spread: Vec<_> = ids.iter().step_by(entities / 10).copied().collect();
    for (live, batch, name) in [
        (false, 10, "while apart, in one commit"),
        (false, 1, "while apart, in ten commits"),
        (true, 10, "live, in one commit"),
    ] {
        let mut runs = Vec::new();
        for run in 0..=repeats() {
            if !live {
                pair.part();
            }
            pair.traffic = Traffic::default();
            work::change(&mut pair.a, &spread, batch, 1_000_000 + run as u64 * 10);
            if !live {
                pair.greet();
            }
            timed_run(&mut pair, run, &mut runs);
            pair.force_sync();
        }
        let figures = figures(runs);
        report.add(Row {
            workload: "W3",
            row: format!("ten of {} entities changed, 20 B each, {name}", grouped(entities as f64)),
            entities: Some(entities as u64),
            events: Some(10),
            store: Some("memory"),
            transport: Some("memory"),
            cpu_s: Some(figures.cpu),
            wall_s: Some(figures.wall),
            bytes: Some(figures.traffic.bytes),
            messages: Some(figures.traffic.messages),
            round_trips: Some(figures.traffic.round_trips()),
            figure: format!("{} B, {} round trips", figures.traffic.bytes, figures.traffic.round_trips()),
            target: if !live && batch == 10 { "1.2 kB, 1 round trip" } else { "" },
            ..Row::default()
        });
    }
}

fn memory(report: &mut Report) {
    for entities in if quick() { vec![10_000] } else { vec![10_000, 100_000] } {
        let figures = (0..if quick() { 1 } else { 3 }).map(|_| {
            let folder = tempfile::tempdir().expect("a folder");
            child::run(Job::Memory, entities, folder.path())
        });
        let bytes = median(figures.collect());
        report.add(Row {
            workload: "W2",
            row: format!("memory an entity with ten events, {} entities", grouped(entities as f64)),
            entities: Some(entities as u64),
            events: Some(entities as u64 * 10),
            store: Some("disk"),
            figure: format!("{:.2} kB (the store's cache of up to 32 MB in it)", bytes / 1e3),
            target: "1.5 kB",
            ..Row::default()
        });
    }
}

fn peak(report: &mut Report) {
    let sizes = if quick() { [10_000, 30_000] } else { [100_000, 1_000_000] };
    let mut peaks = Vec::new();
    for events in sizes {
        let folder = tempfile::tempdir().expect("a folder");
        child::run(Job::Write, events, folder.path());
        peaks.push(child::run(Job::Sync, events, folder.path()));
    }
    for (place, events) in sizes.into_iter().enumerate() {
        let times = peaks[place] / peaks[0];
        report.add(Row {
            workload: "W1",
            row: format!("peak memory of a first sync, both devices in one process, {} events", grouped(events as f64)),
            entities: Some(1_000),
            events: Some(events as u64),
            store: Some("disk"),
            transport: Some("memory"),
            peak_rss_bytes: Some(peaks[place] as u64),
            figure: format!("{:.0} MB, {times:.2} times", peaks[place] / 1e6),
            target: if place == 0 { "" } else { "1.3 times" },
            ..Row::default()
        });
    }
}

fn open(report: &mut Report) {
    // Nearly as many events after the last checkpoint as there can be.
    let events = if quick() { 39_000 } else { 1_019_000 };
    let folder = tempfile::tempdir().expect("a folder");
    child::run(Job::Write, events, folder.path());
    let figures = (0..=repeats()).map(|_| child::run(Job::Open, events, folder.path()));
    let seconds = median(figures.skip(1).collect());
    report.add(Row {
        workload: "W1",
        row: format!("open {} events after a kill, 19,000 of them after the last checkpoint", grouped(events as f64)),
        entities: Some(1_000),
        events: Some(events as u64),
        store: Some("disk"),
        wall_s: Some(seconds),
        figure: format!("{:.1} ms", seconds * 1e3),
        target: "50 ms",
        ..Row::default()
    });
}
