package engineio

import (
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rs/cors"
)

// Names of the transports, as in the query parameter "transport".
const (
	Polling      = "polling"
	WebSocket    = "websocket"
	WebTransport = "webtransport"
)

// Options configures a [Server]. The zero value means the reference implementation's defaults.
type Options struct {
	// PingInterval is the time between a pong and the next ping. Zero means 25 s.
	PingInterval time.Duration
	// PingTimeout is how long a client may take to answer a ping before its session is closed. Zero means 20 s.
	PingTimeout time.Duration
	// UpgradeTimeout bounds an upgrade from polling to another transport, and the time until a stream's first packet. Zero means 10 s.
	UpgradeTimeout time.Duration
	// CloseTimeout bounds the orderly close of a session: flushing what is queued and waiting for the client's own
	// close. Zero means 5 s.
	CloseTimeout time.Duration
	// MaxHTTPBufferSize is the largest message (WebSocket, WebTransport) or request body (polling) accepted, in bytes.
	// Zero means 1,000,000.
	MaxHTTPBufferSize int
	// MaxQueueBytes bounds what may wait in a session's outbound queue, in bytes. A session past it is closed with
	// ReasonSlowConsumer. One message is always accepted, whatever its size. Zero means 4 MiB.
	MaxQueueBytes int
	// Transports lists the transports that are served. Nil means polling and WebSocket. WebTransport needs a server of its
	// own beside this one, see the package webtransport.
	Transports []string
	// DisableUpgrades refuses upgrades from polling to another transport (the reference's allowUpgrades: false).
	DisableUpgrades bool
	// Cookie, when set, is sent with the answer to a polling handshake, its value replaced by the session id
	// (the reference's cookie option). Nil means no cookie.
	Cookie *http.Cookie
	// AllowEIO3 serves clients of protocol v3 too, that is of Socket.IO 2.x.
	AllowEIO3 bool
	// PerMessageDeflate compresses WebSocket messages for clients that offer it. Nil means off: it costs CPU time.
	PerMessageDeflate *PerMessageDeflate
	// HTTPCompressionThreshold is the smallest answer to a poll that is compressed with gzip for clients that accept it,
	// in bytes. Zero means CompressionThreshold, a negative number turns it off.
	HTTPCompressionThreshold int
	// CORS answers cross-origin requests. Nil means no CORS headers: browsers then allow the same origin alone.
	CORS *cors.Options
	// AllowRequest decides on each handshake. An error refuses it with code 4 and the error's text, which the client
	// sees. It may block; the request's context ends when the client goes away. Nil allows all.
	AllowRequest func(r *http.Request) error
	// InitialHeaders may change the response headers of a polling handshake, Headers those of every other response of
	// the polling transport and of a WebSocket handshake (the reference's initial_headers and headers events).
	InitialHeaders func(h http.Header, r *http.Request)
	Headers        func(h http.Header, r *http.Request)
	// InitialPacket, when not empty, is a text message that is sent with the handshake.
	InitialPacket string
	// NodeID, unless empty, begins the id of each session, so that the servers of a cluster can tell whose it is, see NodeOf. It
	// has to be unlike those of all others, and of letters and digits.
	NodeID string
	// UnknownSession, unless nil, gets the requests for sessions that this server does not have, and may serve them. If it
	// reports false, it must not have touched w, and the request is refused.
	UnknownSession func(w http.ResponseWriter, r *http.Request, sid string) (served bool)
	// ConnectionError is told of each request that was refused (the reference's connection_error event).
	ConnectionError func(r *http.Request, code ErrorCode, err error)
	// Logger receives what an operator should know: panics of handlers. Nil means slog.Default().
	Logger *slog.Logger
}

func (o *Options) withDefaults() Options {
	var opts Options
	if o != nil {
		opts = *o
	}
	setDefault(&opts.PingInterval, 25*time.Second)
	setDefault(&opts.PingTimeout, 20*time.Second)
	setDefault(&opts.UpgradeTimeout, 10*time.Second)
	setDefault(&opts.CloseTimeout, 5*time.Second)
	setDefault(&opts.MaxHTTPBufferSize, 1_000_000)
	setDefault(&opts.MaxQueueBytes, 4<<20)
	setDefault(&opts.HTTPCompressionThreshold, CompressionThreshold)
	opts.PerMessageDeflate = opts.PerMessageDeflate.withDefaults()
	if opts.Transports == nil {
		opts.Transports = []string{Polling, WebSocket}
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	return opts
}

func setDefault[T ~int | ~int64](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

func (o *Options) serves(transport string) bool { return slices.Contains(o.Transports, transport) }

// upgradesOf returns the transports that a session may be upgraded to, as JSON.
func (o *Options) upgradesOf(transport string) string {
	names := []string{}
	if transport == Polling && !o.DisableUpgrades {
		for _, name := range []string{WebSocket, WebTransport} {
			if o.serves(name) {
				names = append(names, strconv.Quote(name))
			}
		}
	}
	return "[" + strings.Join(names, ",") + "]"
}
