//! Devices, dead devices and hostile peers on loopback. Everything that waits has a limit.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use futures::future::{Either, select};
use futures::{AsyncWriteExt, StreamExt};
use libp2p::swarm::SwarmEvent;
use libp2p::{Swarm, SwarmBuilder};
use privstack_sync::engine::{LinkId, Via};
use privstack_sync::platform::native::p2p::{self, P2pTransport};
use privstack_sync::transport::p2p::{P2pConfig, PROTOCOL};
use privstack_sync::transport::{Transport, TransportEvent};
use privstack_sync::types::{Keypair, PeerId};
use tokio::sync::oneshot;

pub fn keypair(seed: u8) -> Keypair {
    Keypair::from_seed(&[seed; 32])
}

/// Listens nowhere, looks for nobody.
pub fn quiet() -> P2pConfig {
    P2pConfig { listen_addr: String::new(), extra_listen: vec![], enable_mdns: false, ..P2pConfig::default() }
}

pub struct Up {
    pub link: LinkId,
    pub peer: PeerId,
    pub initiator: bool,
    pub via: Via,
}

pub struct Device {
    pub transport: P2pTransport,
    pub peer: PeerId,
    pub addresses: Vec<String>,
    /// The last link that came up.
    pub link: LinkId,
    /// Whether this side opened it.
    pub initiator: bool,
    /// Links that are up.
    pub up: i32,
    pub limit: Duration,
}

pub fn start(seed: u8, config: &P2pConfig) -> Device {
    let keypair = keypair(seed);
    Device {
        transport: p2p::start(&keypair, config).unwrap(),
        peer: keypair.peer_id(),
        addresses: vec![],
        link: LinkId(0),
        initiator: false,
        up: 0,
        limit: Duration::from_secs(10),
    }
}

/// A device that listens.
pub async fn device(seed: u8, listen: &str) -> Device {
    let mut device = start(seed, &P2pConfig { listen_addr: listen.into(), ..quiet() });
    while device.addresses.is_empty() {
        if let TransportEvent::Listening(address) = device.next().await {
            device.addresses.push(address);
        }
    }
    device
}

/// Two devices with a link.
pub async fn linked(listen: &str) -> (Device, Device) {
    let (mut a, mut b) = (device(1, listen).await, device(2, listen).await);
    a.transport.dial(b.peer, b.addresses.clone());
    both(a.link_up(), b.link_up()).await;
    (a, b)
}

pub async fn both<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> (A, B) {
    tokio::join!(a, b)
}

/// The first one's result, while the second one runs beside it.
pub async fn beside<A, B>(main: impl Future<Output = A>, other: impl Future<Output = B>) -> A {
    match select(pin!(main), pin!(other)).await {
        Either::Left((result, _)) => result,
        Either::Right((_, main)) => main.await,
    }
}

impl Device {
    pub async fn next(&mut self) -> TransportEvent {
        let event = tokio::time::timeout(self.limit, self.transport.next()).await;
        let event = event.unwrap_or_else(|_| panic!("nothing happened at {} for {:?}", self.peer, self.limit));
        match &event {
            TransportEvent::LinkUp { link, initiator, .. } => {
                (self.link, self.initiator) = (*link, *initiator);
                self.up += 1;
                assert!(self.up <= 1, "two links with one peer at once");
            }
            TransportEvent::LinkDown(_) => self.up -= 1,
            _ => {}
        }
        event
    }

    /// Takes events for ever.
    pub async fn drive(&mut self) {
        loop {
            self.transport.next().await;
        }
    }

    /// For the side whose view of the link comes first.
    pub async fn link_up_then_drive(&mut self) {
        self.link_up().await;
        self.drive().await;
    }

    pub async fn link_up(&mut self) -> Up {
        loop {
            if let TransportEvent::LinkUp { link, peer, initiator, via } = self.next().await {
                return Up { link, peer, initiator, via };
            }
        }
    }

    pub async fn link_down(&mut self, link: LinkId) {
        while !matches!(self.next().await, TransportEvent::LinkDown(down) if down == link) {}
    }

    pub async fn frame(&mut self) -> Vec<u8> {
        loop {
            if let TransportEvent::Frame(link, bytes) = self.next().await {
                assert_eq!(link, self.link);
                return bytes;
            }
        }
    }

    pub async fn drive_until_sent(&mut self) {
        while !matches!(self.next().await, TransportEvent::Sent(..)) {}
    }

    pub async fn dial_failed(&mut self, of: PeerId) -> String {
        loop {
            if let TransportEvent::DialFailed(peer, text) = self.next().await {
                assert_eq!(peer, of);
                return text;
            }
        }
    }
}

/// Bytes that the test can make again: of any length up to the limit, most of them short.
pub fn frame(seed: u64, number: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ number.wrapping_mul(0xD1B5_4A32_D192_ED03);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    next();
    let limit = if next() % 16 == 0 { 64 << 10 } else { 512 };
    let length = 1 + (next() as usize) % limit;
    let byte = next() as u8;
    let mut bytes = vec![byte; length];
    bytes.iter_mut().zip(number.to_be_bytes()).for_each(|(to, from)| *to = from);
    bytes
}

/// A device on a thread of its own that can be frozen: its sockets stay open, and nothing answers any more.
pub struct Victim {
    pub peer: PeerId,
    pub addresses: Vec<String>,
    freeze: Option<oneshot::Sender<()>>,
}

impl Victim {
    pub async fn start(seed: u8, listen: &'static str) -> Self {
        let (tell, told) = oneshot::channel();
        let (freeze, frozen) = oneshot::channel::<()>();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut device = device(seed, listen).await;
                tell.send(device.addresses.clone()).unwrap();
                beside(async { frozen.await.ok() }, device.drive()).await;
                loop {
                    std::thread::park();
                }
            })
        });
        Self { peer: keypair(seed).peer_id(), addresses: told.await.unwrap(), freeze: Some(freeze) }
    }

    pub fn freeze(&mut self) {
        self.freeze.take().unwrap().send(()).unwrap();
    }
}

/// A libp2p peer that opens our protocol and then does as it likes.
pub struct Hostile {
    pub peer: PeerId,
    control: libp2p_stream::Control,
    target: libp2p::PeerId,
    task: tokio::task::JoinHandle<()>,
}

impl Hostile {
    pub fn connect(seed: u8, address: &str) -> Self {
        Self::dial(seed, swarm(seed), address)
    }

    /// One that others take for the device at `address`: where it listens, and the streams of `protocol` that they open.
    #[allow(dead_code)] // made for the tests with processes
    pub async fn between(
        seed: u8,
        address: &str,
        protocol: libp2p::StreamProtocol,
    ) -> (Self, String, libp2p_stream::IncomingStreams) {
        let mut swarm = swarm(seed);
        let streams = swarm.behaviour().stream.new_control().accept(protocol).unwrap();
        swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
        let place = loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                break address.to_string();
            }
        };
        (Self::dial(seed, swarm, address), place, streams)
    }

    fn dial(seed: u8, mut swarm: Swarm<Polite>, address: &str) -> Self {
        let address: libp2p::Multiaddr = address.parse().unwrap();
        let Some(libp2p::multiaddr::Protocol::P2p(target)) = address.iter().last() else { panic!("{address}") };
        let control = swarm.behaviour().stream.new_control();
        swarm.dial(address).unwrap();
        let task = tokio::spawn(async move {
            loop {
                swarm.next().await;
            }
        });
        Self { peer: keypair(seed).peer_id(), control, target, task }
    }

    pub async fn open_stream(&mut self) -> libp2p::Stream {
        self.try_open(PROTOCOL).await.unwrap()
    }

    /// `None` where the other side does not speak it.
    pub async fn try_open(&mut self, protocol: libp2p::StreamProtocol) -> Option<libp2p::Stream> {
        self.control.open_stream(self.target, protocol).await.ok()
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn swarm(seed: u8) -> Swarm<Polite> {
    let key = libp2p::identity::Keypair::ed25519_from_bytes(*keypair(seed).seed()).unwrap();
    SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_tcp(Default::default(), libp2p::noise::Config::new, libp2p::yamux::Config::default)
        .unwrap()
        .with_quic()
        .with_behaviour(|_| Polite { stream: libp2p_stream::Behaviour::new(), ping: Default::default() })
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(600)))
        .build()
}

/// Writes all it can; the peer may close meanwhile.
pub async fn write(stream: &mut libp2p::Stream, bytes: &[u8]) {
    if stream.write_all(bytes).await.is_ok() {
        stream.flush().await.ok();
    }
}

/// Answers pings, so that only what it does on the stream counts against it.
#[derive(libp2p::swarm::NetworkBehaviour)]
#[behaviour(prelude = "libp2p::swarm::derive_prelude")]
struct Polite {
    stream: libp2p_stream::Behaviour,
    ping: libp2p::ping::Behaviour,
}
