// Package wire is what the servers of a cluster tell each other, in the form of
// @socket.io/redis-streams-adapter 0.3: what is broadcast, and the commands for
// rooms, are entries of a Redis stream; requests and their answers are messages
// on Pub/Sub channels.
//
// Inside, payloads have their canonical form, raw JSON and attachments (see
// package parser). A payload without binary values travels as JSON in the
// stream, all others as MessagePack.
package wire

// Type says what a message is for. Its values are those of the wire.
type Type int

// The messages. A server of Node ignores those that it does not know.
const (
	InitialHeartbeat Type = 1
	Heartbeat        Type = 2
	BroadcastPacket  Type = 3 // with a request id: the receivers' clients answer
	Join             Type = 4
	Leave            Type = 5
	Disconnect       Type = 6
	FetchSockets     Type = 7
	SocketsFetched   Type = 8
	ServerEvent      Type = 9
	ServerAnswer     Type = 10
	ClientCount      Type = 11
	ClientAnswer     Type = 12
	Close            Type = 13

	// ClientLost is a message of ours: a client that was to answer disconnected.
	ClientLost Type = 113
)

// EmitterUID is what emitters, which are no servers, use for a UID.
const EmitterUID = "emitter"

// The fields of a stream entry. FieldID is ours: the publisher's idempotency
// key; FieldStart too: the entry is no message, the history begins behind it.
const (
	FieldUID       = "uid"
	FieldNamespace = "nsp"
	FieldType      = "type"
	FieldData      = "data"
	FieldID        = "id"
	FieldUnlogged  = "unlogged"
	FieldStart     = "twine-start"
)

// DefaultStream is the stream that servers of Node use unless told otherwise.
// The same name begins the names of their channels.
const DefaultStream = "socket.io"

// PublicChannel is where a namespace's requests are published. The number of
// its subscribers is the number of servers.
func PublicChannel(prefix, namespace string) string { return prefix + "#" + namespace + "#" }

// PrivateChannel is where the answers to one server's requests are published.
func PrivateChannel(prefix, namespace, uid string) string {
	return PublicChannel(prefix, namespace) + uid + "#"
}

// Options select the sockets that a message is for.
type Options struct {
	Rooms  []string `json:"rooms" msgpack:"rooms"`
	Except []string `json:"except" msgpack:"except"`
	Flags  Flags    `json:"flags" msgpack:"flags"`
}

// Flags modify how a message is delivered.
type Flags struct {
	Volatile bool  `json:"volatile,omitempty" msgpack:"volatile,omitempty"`
	Compress *bool `json:"compress,omitempty" msgpack:"compress,omitempty"` // nil: true
	// Timeout, in milliseconds, is how long clients' answers are waited for;
	// zero: the sender did not say.
	Timeout float64 `json:"timeout,omitempty" msgpack:"timeout,omitempty"`
}

// withLists makes absent lists empty ones: servers of Node iterate over them.
func (o Options) withLists() Options {
	if o.Rooms == nil {
		o.Rooms = []string{}
	}
	if o.Except == nil {
		o.Except = []string{}
	}
	return o
}
