package twine

import "github.com/twine-realtime/twine/twine/engineio"

// Why a socket was disconnected, as disconnect handlers are told, in the words of Socket.IO.
const (
	// The connection was closed by the client, or cut.
	ReasonTransportClose = string(engineio.ReasonTransportClose) // "transport close"
	// The connection failed.
	ReasonTransportError = string(engineio.ReasonTransportError) // "transport error"
	// The client stopped answering pings.
	ReasonPingTimeout = string(engineio.ReasonPingTimeout) // "ping timeout"
	// The client sent something that is not a packet.
	ReasonParseError = string(engineio.ReasonParseError) // "parse error"
	// The server is closing. Clients come back by themselves, to another server for instance.
	ReasonServerShutdown = string(engineio.ReasonServerShutdown) // "server shutting down"
	// The client left the namespace.
	ReasonClientDisconnect = "client namespace disconnect"
	// The server disconnected the socket. Clients do not come back by themselves.
	ReasonServerDisconnect = "server namespace disconnect"
	// The server closed the connection, for instance because the client broke the protocol.
	ReasonForcedClose = "forced server close"
	// More was queued for the client than engineio.Options.MaxQueueBytes. Socket.IO has no such bound.
	ReasonSlowConsumer = string(engineio.ReasonSlowConsumer) // "slow consumer"
)

// socketReason translates why an Engine.IO session ended.
func socketReason(r engineio.Reason) string {
	if r == engineio.ReasonForcedClose {
		return ReasonForcedClose
	}
	return string(r)
}

// endsEvents reports whether events that the client sent before the disconnect are dropped. Whom this server
// disconnects has nothing more to say; but a client's last words, then a hang-up, are heard.
func endsEvents(reason string) bool {
	return reason == ReasonServerDisconnect || reason == ReasonForcedClose
}
