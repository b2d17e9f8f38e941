//! What an app says about its network.

/// Where to listen and how to find peers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct P2pConfig {
    /// The multiaddress to listen on, port 0 for any; empty for none.
    pub listen_addr: String,
    /// More of the same. By default TCP beside QUIC, for networks that drop UDP.
    pub extra_listen: Vec<String>,
    /// Multiaddresses of nodes that help to reach others: with `enable_relay` the relays, at most 4, each ending in
    /// `/p2p/` and the relay's PeerId.
    pub bootstrap_nodes: Vec<String>,
    /// Find peers on the local network, and be found (mDNS).
    pub enable_mdns: bool,
    /// Find peers on the internet (Kademlia). Not in this version: `start` refuses it.
    pub enable_dht: bool,
    /// Keep a place at each relay in `bootstrap_nodes`, and reach through them whoever keeps one there too.
    pub enable_relay: bool,
}

impl Default for P2pConfig {
    fn default() -> Self {
        Self {
            listen_addr: "/ip4/0.0.0.0/udp/0/quic-v1".into(),
            extra_listen: vec!["/ip4/0.0.0.0/tcp/0".into()],
            bootstrap_nodes: Vec::new(),
            enable_mdns: true,
            enable_dht: false,
            enable_relay: false,
        }
    }
}
