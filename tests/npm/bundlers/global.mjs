globalThis.global = globalThis; // react-test-renderer was made for Node
