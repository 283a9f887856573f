package engineio

import "errors"

// Reason tells why a session ended, in the reference implementation's words.
type Reason string

const (
	// ReasonTransportClose: the client closed the connection, or it was cut.
	ReasonTransportClose Reason = "transport close"
	// ReasonTransportError: the connection failed or the client broke the transport's rules.
	ReasonTransportError Reason = "transport error"
	// ReasonPingTimeout: the client did not answer a ping within PingTimeout.
	ReasonPingTimeout Reason = "ping timeout"
	// ReasonParseError: the client sent something that is not a packet.
	ReasonParseError Reason = "parse error"
	// ReasonForcedClose: this side closed the session.
	ReasonForcedClose Reason = "forced close"
	// ReasonServerShutdown: the server is closing.
	ReasonServerShutdown Reason = "server shutting down"
	// ReasonSlowConsumer: more than MaxQueueBytes waited for a client that does not read fast enough. The reference
	// has no such bound and no such reason.
	ReasonSlowConsumer Reason = "slow consumer"
)

var (
	// ErrClosed is returned for a session or server that is closed or closing.
	ErrClosed = errors.New("engineio: closed")

	errPingTimeout   = errors.New("engineio: no pong within the ping timeout")
	errSlowConsumer  = errors.New("engineio: outbound queue is full")
	errPacket        = errors.New("engineio: malformed packet")
	errHeartbeat     = errors.New("engineio: invalid heartbeat direction")
	errPollOverlap   = errors.New("engineio: overlapping poll")
	errPostOverlap   = errors.New("engineio: overlapping POST")
	errContentType   = errors.New("engineio: binary payloads are base64 in this protocol version")
	errUTF8          = errors.New("engineio: text is not valid UTF-8")
	errProtocol      = errors.New("engineio: WebSocket protocol error")
	errInflate       = errors.New("engineio: compressed message is damaged")
	errTooLarge      = errors.New("engineio: message larger than MaxHTTPBufferSize")
	errLength        = errors.New("engineio: packet is empty or larger than MaxHTTPBufferSize")
	errPollAborted   = errors.New("engineio: poll aborted by the client")
	errUpgraded      = errors.New("engineio: the session uses another transport now")
	errPanic         = errors.New("engineio: the handler panicked")
	errNoUpgrades    = errors.New("engineio: upgrades are disabled")
	errOpenTimeout   = errors.New("engineio: no packet within the upgrade timeout")
	errUpgradeClosed = errors.New("engineio: connection closed during the upgrade")
)

// ErrorCode is the code of a request that Engine.IO refuses, as clients receive it in {"code","message"}.
type ErrorCode int

// The reference's codes. All are sent with HTTP status 400, CodeForbidden with 403.
const (
	CodeUnknownTransport   ErrorCode = 0
	CodeUnknownSID         ErrorCode = 1
	CodeBadHandshakeMethod ErrorCode = 2
	CodeBadRequest         ErrorCode = 3
	CodeForbidden          ErrorCode = 4
	CodeUnsupportedVersion ErrorCode = 5
)

func (c ErrorCode) String() string {
	switch c {
	case CodeUnknownTransport:
		return "Transport unknown"
	case CodeUnknownSID:
		return "Session ID unknown"
	case CodeBadHandshakeMethod:
		return "Bad handshake method"
	case CodeForbidden:
		return "Forbidden"
	case CodeUnsupportedVersion:
		return "Unsupported protocol version"
	}
	return "Bad request"
}
