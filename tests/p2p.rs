//! Two and more devices over real sockets on loopback.

#![cfg(all(feature = "p2p", not(target_arch = "wasm32")))]

mod lan;
mod p2p_support;

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use p2p_support::*;
use privstack_sync::engine::{LinkId, Via};
use privstack_sync::error::ErrorCode;
use privstack_sync::transport::p2p::P2pConfig;
use privstack_sync::transport::{Transport, TransportEvent};
use privstack_sync::types::limits::MAX_FRAME_BYTES;

const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";
const TCP: &str = "/ip4/127.0.0.1/tcp/0";

async fn exchange(listen: &str) {
    const FRAMES: u64 = 10_000;
    let (a, b) = linked(listen).await;
    let run = |mut device: Device, seed: u64, their_seed: u64| async move {
        let (mut sent, mut received, mut gone) = (0, 0, 0u64);
        let mut room = 1 << 20;
        let mut total = 0u64;
        while received < FRAMES || gone < total || sent < FRAMES {
            while sent < FRAMES && room > 0 {
                let frame = frame(seed, sent);
                room -= frame.len() as i64;
                total += frame.len() as u64;
                sent += 1;
                let link = device.link;
                device.transport.send(link, frame);
            }
            match device.next().await {
                TransportEvent::Frame(link, bytes) if link == device.link => {
                    assert_eq!(bytes, frame(their_seed, received), "frame {received}");
                    received += 1;
                }
                TransportEvent::Sent(link, bytes) if link == device.link => {
                    gone += bytes as u64;
                    room += bytes as i64;
                }
                TransportEvent::LinkDown(_) => panic!("the link broke after {received} frames"),
                _ => {}
            }
        }
        device
    };
    tokio::join!(run(a, 1, 2), run(b, 2, 1));
}

#[tokio::test]
async fn ten_thousand_frames_of_any_size_arrive_in_order_both_ways_over_quic() {
    exchange(QUIC).await;
}

#[tokio::test]
async fn ten_thousand_frames_of_any_size_arrive_in_order_both_ways_over_tcp() {
    exchange(TCP).await;
}

#[tokio::test]
async fn a_link_on_loopback_is_told_as_lan_and_only_the_dialler_is_the_initiator() {
    for listen in [QUIC, TCP] {
        let (mut a, mut b) = (device(1, listen).await, device(2, listen).await);
        a.transport.dial(b.peer, b.addresses.clone());
        let (ours, theirs) = both(a.link_up(), b.link_up()).await;
        assert_eq!((ours.peer, ours.initiator, ours.via), (b.peer, true, Via::Lan));
        assert_eq!((theirs.peer, theirs.initiator, theirs.via), (a.peer, false, Via::Lan));
    }
}

#[tokio::test]
async fn both_sides_dialling_at_once_ends_in_one_link_that_carries_frames() {
    let mut flaps = 0;
    for listen in [QUIC, TCP] {
        for round in 0..20u8 {
            let (mut a, mut b) = both(device(2 * round + 1, listen), device(2 * round + 2, listen)).await;
            a.transport.dial(b.peer, b.addresses.clone());
            b.transport.dial(a.peer, a.addresses.clone());
            // Each side greets on every link that comes up. When both have been greeted on the link that they have now,
            // it is the same stream: `Device::next` checks that there is never a second one beside it.
            let (mut at_a, mut at_b) = (None, None);
            while at_a != Some(a.link) || at_b != Some(b.link) || (a.up, b.up) != (1, 1) {
                tokio::select! {
                    event = a.next() => greet(&mut a, event, &mut at_a),
                    event = b.next() => greet(&mut b, event, &mut at_b),
                }
                flaps += i32::from(a.up == 0 && a.link != LinkId(0));
            }
            assert_ne!(a.initiator, b.initiator);
        }
    }
    println!("{flaps} of 40 times a link was given up for the other");
}

fn greet(device: &mut Device, event: TransportEvent, greeted: &mut Option<LinkId>) {
    match event {
        TransportEvent::LinkUp { link, .. } => device.transport.send(link, vec![1]),
        TransportEvent::Frame(link, _) => *greeted = Some(link),
        TransportEvent::DialFailed(_, why) => panic!("{why}"),
        _ => {}
    }
}

#[tokio::test]
async fn an_address_without_a_peer_id_is_dialled() {
    for listen in [QUIC, TCP] {
        let (mut a, mut b) = (device(1, listen).await, device(2, listen).await);
        let address = b.addresses[0].split("/p2p/").next().unwrap().to_owned();
        a.transport.dial_address(&address).unwrap();
        let (up, _) = both(a.link_up(), b.link_up()).await;
        assert_eq!(up.peer, b.peer);
    }
}

#[tokio::test]
async fn hostile_peers_are_dropped_while_another_link_goes_on() {
    for listen in [QUIC, TCP] {
        let mut device = device(1, listen).await;
        let mut good = start(2, &quiet());
        good.transport.dial(device.peer, device.addresses.clone());
        both(good.link_up(), device.link_up()).await;
        let good_at_device = device.link;
        let garbage = [
            vec![0xff; 200_000],
            0u32.to_be_bytes().to_vec(),
            (MAX_FRAME_BYTES as u32 + 1).to_be_bytes().to_vec(),
            u32::MAX.to_be_bytes().to_vec(),
        ];
        for (number, garbage) in garbage.into_iter().enumerate() {
            let mut hostile = Hostile::connect(50 + number as u8, &device.addresses[0]);
            device.up = 0;
            let mut stream = None;
            let (up, ()) = both(device.link_up(), async { stream = Some(hostile.open_stream().await) }).await;
            assert_eq!(up.peer, hostile.peer);
            let mut stream = stream.unwrap();
            beside(device.link_down(up.link), write(&mut stream, &garbage)).await;
            good.transport.send(good.link, vec![number as u8]);
            device.link = good_at_device;
            let ((), bytes) = both(good.drive_until_sent(), device.frame()).await;
            assert_eq!(bytes, [number as u8]);
        }
    }
}

#[tokio::test]
async fn half_a_frame_and_silence_close_the_stream_after_thirty_seconds() {
    let mut device = device(1, QUIC).await;
    device.limit = Duration::from_secs(45);
    let mut good = start(2, &quiet());
    good.transport.dial(device.peer, device.addresses.clone());
    both(good.link_up(), device.link_up()).await;
    let good_at_device = device.link;
    // Both sides of the good link have said something; it may be silent from now on.
    good.transport.send(good.link, vec![7]);
    both(good.drive_until_sent(), device.frame()).await;
    device.transport.send(device.link, vec![7]);
    both(good.frame(), device.drive_until_sent()).await;
    let mut hostile = Vec::new();
    for (seed, bytes) in [(60, vec![0, 0, 0, 1, 9, 0, 0, 0, 100, 1, 2, 3]), (61, vec![])] {
        let mut peer = Hostile::connect(seed, &device.addresses[0]);
        device.up = 0;
        let open = async {
            let mut stream = peer.open_stream().await;
            write(&mut stream, &bytes).await;
            stream
        };
        let (up, stream) = both(device.link_up(), open).await;
        hostile.push((up.link, peer, stream));
    }
    let began = Instant::now();
    device.up = 3;
    beside(
        async {
            let mut left: Vec<_> = hostile.iter().map(|(link, ..)| *link).collect();
            while !left.is_empty() {
                if let TransportEvent::LinkDown(link) = device.next().await {
                    left.retain(|other| *other != link);
                }
            }
        },
        good.drive(),
    )
    .await;
    assert!(began.elapsed() > Duration::from_secs(25), "{:?}", began.elapsed());
    good.transport.send(good.link, vec![8]);
    device.link = good_at_device;
    let ((), bytes) = both(good.drive_until_sent(), device.frame()).await;
    assert_eq!(bytes, [8]);
}

#[tokio::test]
async fn a_device_that_closes_is_noticed_at_once_and_can_come_back() {
    for listen in [QUIC, TCP] {
        let (mut a, mut b) = linked(listen).await;
        let began = Instant::now();
        let link = a.link;
        b.transport.send(b.link, b"bye".to_vec());
        let parting = async {
            assert_eq!(a.frame().await, b"bye");
            a.link_down(link).await;
        };
        tokio::join!(b.transport.close(), parting);
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());

        let mut b = device(2, listen).await;
        a.transport.dial(b.peer, b.addresses.clone());
        let (up, _) = both(a.link_up(), b.link_up()).await;
        assert!(up.link > link);
    }
}

#[tokio::test]
async fn a_device_that_dies_without_a_word_is_noticed() {
    for listen in [QUIC, TCP] {
        let mut victim = Victim::start(2, listen).await;
        let mut a = start(1, &quiet());
        a.limit = Duration::from_secs(20);
        a.transport.dial(victim.peer, victim.addresses.clone());
        a.link_up().await;
        victim.freeze();
        let began = Instant::now();
        let link = a.link;
        a.link_down(link).await;
        println!("noticed after {:?} ({listen})", began.elapsed());
    }
}

#[tokio::test]
async fn a_hang_up_delivers_the_last_words_and_a_new_dial_links_again() {
    for listen in [QUIC, TCP] {
        let (mut a, mut b) = linked(listen).await;
        for n in 0..100u8 {
            a.transport.send(a.link, vec![n; 1000]);
        }
        a.transport.hang_up(a.link);
        let (old_a, old_b) = (a.link, b.link);
        let words = async {
            for n in 0..100u8 {
                assert_eq!(b.frame().await, vec![n; 1000]);
            }
            b.link_down(old_b).await;
        };
        tokio::join!(a.link_down(old_a), words);
        a.transport.dial(b.peer, b.addresses.clone());
        both(a.link_up(), b.link_up()).await;
        // The side that did not dial the connection can open the stream, too.
        let (old_a, old_b) = (a.link, b.link);
        b.transport.hang_up(old_b);
        tokio::join!(a.link_down(old_a), b.link_down(old_b));
        b.transport.dial(a.peer, a.addresses.clone());
        let (_, up) = both(a.link_up(), b.link_up()).await;
        assert!(up.initiator);
    }
}

#[tokio::test]
async fn a_dial_to_a_dead_port_fails_with_the_address_in_the_text() {
    let mut a = device(1, QUIC).await;
    a.limit = Duration::from_secs(15);
    let peer = keypair(2).peer_id();
    for address in ["/ip4/127.0.0.1/udp/9/quic-v1", "/ip4/127.0.0.1/tcp/9"] {
        a.transport.dial(peer, vec![address.into()]);
        assert!(a.dial_failed(peer).await.contains(address));
        a.transport.dial_address(address).unwrap();
        let error = loop {
            if let TransportEvent::AddressFailed(failed, error) = a.next().await {
                assert_eq!(failed, address);
                break error;
            }
        };
        assert_eq!(error.code(), ErrorCode::Unreachable);
        assert!(error.message().contains(address), "{error}");
    }
    a.transport.dial(peer, vec![]);
    assert!(a.dial_failed(peer).await.contains("no address"));
    assert_eq!(a.transport.dial_address("nonsense").unwrap_err().code(), ErrorCode::Invalid);
}

#[tokio::test]
async fn another_device_at_the_address_is_told_by_name() {
    let (mut a, mut b) = (device(1, QUIC).await, device(2, QUIC).await);
    let wrong = keypair(3).peer_id();
    let address = b.addresses[0].split("/p2p/").next().unwrap().to_owned();
    a.transport.dial(wrong, vec![address]);
    let text = tokio::select! {
        text = a.dial_failed(wrong) => text,
        _ = b.drive() => unreachable!(),
    };
    assert!(text.contains(&b.peer.to_string()), "{text}");
}

#[tokio::test]
async fn a_pause_cuts_links_and_refuses_new_ones_until_resumed() {
    for listen in [QUIC, TCP] {
        let (mut a, mut b) = linked(listen).await;
        let (old_a, old_b) = (a.link, b.link);
        b.transport.pause();
        tokio::join!(a.link_down(old_a), b.link_down(old_b));
        a.limit = Duration::from_secs(20);
        a.transport.dial(b.peer, b.addresses.clone());
        tokio::select! {
            text = a.dial_failed(b.peer) => assert!(!text.is_empty()),
            _ = b.drive() => unreachable!(),
        }
        b.transport.dial(a.peer, a.addresses.clone());
        assert!(b.dial_failed(a.peer).await.contains("paused"));
        b.transport.resume();
        a.transport.dial(b.peer, b.addresses.clone());
        both(a.link_up(), b.link_up()).await;
    }
}

#[tokio::test]
async fn a_port_in_use_is_told_and_the_rest_goes_on() {
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let busy = [
        format!("/ip4/127.0.0.1/udp/{}/quic-v1", udp.local_addr().unwrap().port()),
        format!("/ip4/127.0.0.1/tcp/{}", tcp.local_addr().unwrap().port()),
    ];
    let config = P2pConfig { listen_addr: QUIC.into(), extra_listen: busy.to_vec(), ..quiet() };
    let mut a = start(1, &config);
    let (mut failed, mut listening) = (Vec::new(), false);
    while failed.len() < 2 || !listening {
        match a.next().await {
            TransportEvent::ListenFailed(address, error) => {
                assert!(error.message().contains(&address), "{error}");
                failed.push(address);
            }
            TransportEvent::Listening(_) => listening = true,
            _ => {}
        }
    }
    failed.sort();
    assert_eq!(failed, {
        let mut busy = busy.to_vec();
        busy.sort();
        busy
    });
}

#[tokio::test]
async fn a_peer_that_reads_nothing_loses_the_link_when_eight_mebibytes_wait() {
    for listen in [QUIC, TCP] {
        let (mut a, _b) = linked(listen).await;
        let link = a.link;
        for _ in 0..200 {
            a.transport.send(link, vec![0; MAX_FRAME_BYTES]);
        }
        a.link_down(link).await;
    }
}

#[tokio::test]
async fn a_device_that_restarts_before_its_death_was_noticed_gets_a_link() {
    for listen in [QUIC, TCP] {
        // Whoever has the lower id: the new link must win in both cases.
        for (survivor, other) in [(1, 2), (2, 1)] {
            let mut a = device(survivor, listen).await;
            let mut victim = Victim::start(other, listen).await;
            a.transport.dial(victim.peer, victim.addresses.clone());
            a.link_up().await;
            victim.freeze();

            let mut b = device(other, listen).await;
            a.limit = Duration::from_secs(20);
            b.transport.dial(a.peer, a.addresses.clone());
            let began = Instant::now();
            let up = beside(a.link_up(), b.link_up_then_drive()).await;
            println!("linked after {:?} ({listen}, {survivor})", began.elapsed());
            assert!(!up.initiator);
            a.transport.send(a.link, vec![5]);
            let ((), bytes) = both(a.drive_until_sent(), b.frame()).await;
            assert_eq!(bytes, [5]);
        }
    }
}

#[test]
fn two_devices_on_one_network_find_each_other_by_mdns_and_link() {
    let lan = match lan::Lan::new() {
        Ok(lan) => lan,
        Err(why) => return lan::not_run("two_devices_on_one_network_find_each_other_by_mdns_and_link", &why),
    };
    let spawn = |side: &str, seed: &str| {
        lan.command(side, std::env::current_exe().unwrap())
            .args(["--exact", "--ignored", "--nocapture", "a_device_on_that_network"])
            .env("MDNS_SEED", seed)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let mut children = [spawn("a", "1"), spawn("b", "2")];
    let mut lines = children.each_mut().map(|child| BufReader::new(child.stdout.take().unwrap()).lines());
    let met = lines.each_mut().map(|lines| lines.map_while(Result::ok).any(|line| line.contains("found and linked")));
    for mut child in children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_eq!(met, [true, true]);
}

/// One of the two processes of the test above.
#[tokio::test]
#[ignore = "started by two_devices_on_one_network_find_each_other_by_mdns_and_link"]
async fn a_device_on_that_network() {
    let seed: u8 = std::env::var("MDNS_SEED").expect("see the reason of `ignore`").parse().unwrap();
    let other = keypair(3 - seed).peer_id();
    let mut device = start(seed, &P2pConfig { enable_mdns: true, extra_listen: vec![], ..P2pConfig::default() });
    device.limit = Duration::from_secs(30);
    let (mut found, mut greeted) = (false, false);
    // Until the parent ends it: the other device may not have got as far as this one.
    loop {
        match device.next().await {
            TransportEvent::PeerFound(peer, addresses) if peer == other => {
                assert!(addresses.iter().all(|address| !address.contains("127.0.0.1")), "{addresses:?}");
                found = true;
                // Nothing but the name: where it is, mDNS has said.
                device.transport.dial(peer, vec![]);
            }
            TransportEvent::LinkUp { link, .. } => device.transport.send(link, vec![seed]),
            TransportEvent::Frame(_, frame) => greeted |= frame == [3 - seed],
            TransportEvent::Warning(error) => panic!("{error}"),
            _ => {}
        }
        if found && greeted {
            println!("\nfound and linked");
        }
    }
}

#[tokio::test]
async fn without_mdns_its_port_stays_free() {
    let _device = device(1, QUIC).await;
    std::net::UdpSocket::bind("0.0.0.0:5353").expect("nobody but mDNS would hold it in this test");
}

/// Not a test of speed: prints what this machine does.
#[tokio::test]
#[ignore = "prints figures; run it alone, in release"]
async fn throughput_and_round_trip() {
    const TOTAL: usize = 64 << 20;
    for listen in [QUIC, TCP] {
        let (mut a, mut b) = linked(listen).await;
        let began = Instant::now();
        let send = async {
            let (mut queued, mut gone) = (0, 0);
            while gone < TOTAL {
                while queued < TOTAL && queued - gone < 1 << 20 {
                    a.transport.send(a.link, vec![1; 60 << 10]);
                    queued += 60 << 10;
                }
                if let TransportEvent::Sent(_, bytes) = a.next().await {
                    gone += bytes;
                }
            }
        };
        let receive = async {
            let mut received = 0;
            while received < TOTAL {
                received += b.frame().await.len();
            }
        };
        tokio::join!(send, receive);
        let rate = TOTAL as f64 / 1e6 / began.elapsed().as_secs_f64();
        let began = Instant::now();
        const TRIPS: u32 = 10_000;
        let ask = async {
            for _ in 0..TRIPS {
                a.transport.send(a.link, vec![1; 100]);
                a.frame().await;
            }
        };
        let answer = async {
            loop {
                let frame = b.frame().await;
                b.transport.send(b.link, frame);
            }
        };
        beside(ask, answer).await;
        println!("{listen}: {rate:.0} MB/s, {:?} a round trip", began.elapsed() / TRIPS);
    }
}
