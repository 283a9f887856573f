// Package adapter decides which sockets a broadcast reaches, on this server and on the others of its cluster.
//
// Each namespace has one [Adapter]. It holds the rooms of the sockets that are connected to this server, which
// [InProcess] does for a server that stands alone. An adapter for a cluster embeds an InProcess for its own sockets,
// overrides the methods that reach further than this server, and hands what arrives from others to the embedded one.
//
// Packets are in their canonical form here (see package parser): the namespace alone, as the adapter's [Host], knows how
// they look on the wire.
package adapter

import (
	"context"
	"encoding/json"
	"time"

	"github.com/twine-realtime/twine/twine/parser"
)

// Flags modify how a broadcast is delivered. The zero value is a plain broadcast.
type Flags struct {
	// Volatile drops the packet for each socket whose connection cannot take it at once.
	Volatile bool
	// Local reaches the sockets of this server alone.
	Local bool
	// Unlogged leaves the packet out of the log, for servers with recovery: a client that is away misses it.
	Unlogged bool
	// NoCompress asks the transport not to compress the packet.
	NoCompress bool
	// Timeout bounds how long acknowledgements are waited for. Zero means as long as the caller's context lasts.
	Timeout time.Duration
}

// Options select the sockets of a namespace that an operation is for. The zero value selects all of them.
type Options struct {
	// Rooms are the rooms whose members are selected, each member once. No rooms means everyone in the namespace.
	Rooms []string
	// Except are rooms whose members are left out.
	Except []string
	Flags  Flags
}

// Delivery is one broadcast on its way to the sockets of this server, shared by all of them: they must not change it.
type Delivery struct {
	Packet *parser.Packet
	Flags  Flags
	// Offset, if not empty, is what clients that recover remember as their position. It is appended to the arguments.
	Offset string
	// Acks, if not nil, is told each member's answer. The packet then has an id.
	Acks Acks
	// Wire is the packet as it is sent, set by [Host.Prepare]. Its type is the host's own affair.
	Wire any
}

// Acks receives the answers to a broadcast that asked for acknowledgements. Its methods may be called concurrently, and
// before the broadcast returns. For each member exactly one of them is called, unless the broadcast's context ended
// first; then maybe none. They must not block and must not call the adapter.
type Acks interface {
	// Answer hands over what a member answered: a raw JSON array of arguments with its attachments, both to be kept
	// but not changed. member may be empty if the member is another server's and that server did not tell.
	Answer(member string, data []byte, attachments [][]byte)
	// Lost tells that a member disconnected before it answered.
	Lost(member string)
}

// Member is a socket of this server. Its methods are safe for concurrent use.
type Member interface {
	// ID is unique in the namespace and never changes.
	ID() string
	// Deliver queues the delivery for the client. It runs with rooms locked: it must not block and must not call the
	// adapter.
	Deliver(d *Delivery)
	// Forget tells that the answer to the broadcast with this id is no longer awaited.
	Forget(ackID uint64)
	// Details returns what [Adapter.FetchSockets] tells other servers about the socket: its handshake and the data
	// that the application attached, as JSON.
	Details() (handshake, data json.RawMessage)
	// RoomsChanged tells that an adapter, not the member itself, has changed the rooms that it is in. It does not block.
	RoomsChanged()
	// Disconnect ends the socket, or with closeTransport the whole connection that it is part of. It does not block.
	Disconnect(closeTransport bool)
}

// Host is the namespace that an adapter works for. Its methods are safe for concurrent use.
type Host interface {
	// Name is the name of the namespace, such as "/" or "/chat".
	Name() string
	// Prepare encodes and frames the packet of a delivery once, for all who get it, and sets its Wire. It fails if the
	// packet cannot be encoded.
	Prepare(d *Delivery) error
	// NextAckID returns an id under which no answer is awaited by this server in this namespace.
	NextAckID() uint64
	// ServerSideEvent runs the handlers for an event that another server emitted to servers: a raw JSON array of the
	// name and the arguments. answer is nil if no answer is wanted; otherwise it may be called once, later and from any
	// goroutine, with the raw JSON array of the answer's arguments.
	ServerSideEvent(data []byte, attachments [][]byte, answer func(data []byte, attachments [][]byte))
}

// Details describes a socket, of this server or another.
type Details struct {
	ID        string
	Rooms     []string
	Handshake json.RawMessage
	Data      json.RawMessage // nil if the application attached none
}

// Answer is what another server answered to a server-side event.
type Answer struct {
	Data        []byte // raw JSON array of the arguments
	Attachments [][]byte
}

// Adapter holds the rooms of a namespace and reaches the sockets in them. All methods are safe for concurrent use.
//
// The methods of the first group concern the sockets of this server and never fail or block on anything but other
// calls. Those of the second reach the whole cluster, except where [Flags].Local is set. Their context may lack a
// deadline: an adapter that calls out sets its own.
type Adapter interface {
	// Add makes m a member of the namespace, and of the rooms. A member with the same id is replaced: it leaves all
	// of its rooms, and calls that concern it have no effect any more.
	Add(m Member, rooms ...string)
	// AddAll puts a member into rooms. It reports false, and does nothing, if m is not a member of the namespace: not
	// yet, or not any more. So a join that races the end of its socket leaves nothing behind.
	AddAll(m Member, rooms ...string) bool
	// Del takes a member out of rooms. Where it is not in, nothing happens.
	Del(m Member, rooms ...string)
	// DelAll takes a member out of all rooms and of the namespace. When it returns, no Deliver of m is under way or
	// will follow.
	DelAll(m Member)
	// Member returns the member with the id, or nil.
	Member(id string) Member
	// Members returns the selected members in no particular order.
	Members(o Options) []Member
	// SocketRooms returns the rooms of the member with the id, or nil if there is none. The caller owns the result.
	SocketRooms(id string) []string
	// Rooms returns how many members each room has. The caller owns the result.
	Rooms() map[string]int

	// Broadcast sends a packet to the selected sockets. Broadcasts that reach one room reach all of its members in the
	// same order, and in the order of the calls if these do not overlap.
	Broadcast(ctx context.Context, p *parser.Packet, o Options) error
	// BroadcastWithAck is Broadcast for an event whose receivers answer. It returns how many answers there will be,
	// which acks receives as they come until ctx ends.
	BroadcastWithAck(ctx context.Context, p *parser.Packet, o Options, acks Acks) (int, error)
	// Sockets returns the ids of the selected sockets.
	Sockets(ctx context.Context, o Options) ([]string, error)
	// FetchSockets describes the selected sockets.
	FetchSockets(ctx context.Context, o Options) ([]Details, error)
	// AddSockets puts the selected sockets into rooms.
	AddSockets(ctx context.Context, o Options, rooms []string) error
	// DelSockets takes the selected sockets out of rooms.
	DelSockets(ctx context.Context, o Options, rooms []string) error
	// DisconnectSockets disconnects the selected sockets, see [Member.Disconnect].
	DisconnectSockets(ctx context.Context, o Options, closeTransport bool) error
	// ServerSideEmit sends an event, a raw JSON array of name and arguments, to all other servers.
	ServerSideEmit(ctx context.Context, data []byte, attachments [][]byte) error
	// ServerSideEmitWithAck is ServerSideEmit that waits for an answer of each other server. With an error it returns
	// the answers that came until then.
	ServerSideEmitWithAck(ctx context.Context, data []byte, attachments [][]byte) ([]Answer, error)
	// ServerCount returns how many servers the cluster has, this one included.
	ServerCount(ctx context.Context) (int, error)
	// Close ends the adapter's own work. The methods of the first group keep working, so that sockets can end.
	Close() error
}

// Constructor makes the adapter of a namespace. Before it returns it may call the host's Name alone. It must not block.
type Constructor func(h Host) (Adapter, error)
