package controlplane

// EventKind says what a client did.
type EventKind uint8

// Event kinds.
const (
	// Connected comes with the first request of a stream, which names the node.
	Connected EventKind = iota
	// Disconnected comes at the end of a stream.
	Disconnected
	// Acknowledged tells that a client took what it was sent.
	Acknowledged
	// Rejected tells that a client did not take all of it; Event.Err says why.
	Rejected
)

// Event is something that a client did.
type Event struct {
	Kind EventKind
	// Node is the id of the client's node, Peer its network address.
	Node, Peer string
	// Delta tells a stream of the incremental protocol.
	Delta bool
	// Poll tells a client that polls, which is connected as long as it does so.
	Poll bool
	// Type is the short name of a resource type, such as Cluster. It is empty for Connected and Disconnected of an
	// aggregated stream.
	Type string
	// Version of the response that was acknowledged or rejected.
	Version string
	// Names are the resources of that response, and Removed those that it took away (delta only), in order.
	Names, Removed []string
	// Err is the client's reason for rejecting.
	Err string
}
