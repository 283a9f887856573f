// Package forward lets the servers of a cluster do without sticky sessions: a request for a session that another server has is
// passed on to that server, over HTTP.
//
// Give each server an [engineio.Options] NodeID, which its session ids then begin with, and the Forwarder's Serve as its
// UnknownSession. A long-polling client whose requests a load balancer spreads over all servers, and an upgrade that goes to
// another server than the polling before it, are then served all the same. Requests that reach the right server at once take no
// detour, so stickiness is worth having where it is to be had.
package forward

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/twine-realtime/twine/twine/engineio"
)

// Options configure a [Forwarder]. NodeID and Nodes are required.
type Options struct {
	// NodeID is this server's.
	NodeID string
	// Nodes returns the addresses of all servers, such as http://10.0.0.5:3005, by their NodeIDs. They are asked for at most
	// every Refresh, and no oftener than every quarter of a second for an id that is not among them.
	Nodes func(ctx context.Context) (map[string]string, error)
	// Refresh is how long the answer of Nodes is used. Zero means 2 s.
	Refresh time.Duration
	// Timeout is how long the other server may take to begin its answer. A long poll's begins when there is something to say.
	// Zero means 2 minutes.
	Timeout time.Duration
	// Logger receives what an operator should know. Nil means slog.Default().
	Logger *slog.Logger
}

// passedOn marks a request that another server has passed on already, with that server's NodeID.
const passedOn = "Twine-Passed-On-By"

// dialTimeout is how long a server that does not answer at all holds a request up.
const dialTimeout = 2 * time.Second

// impatience is how often Nodes is asked for ids that nobody has, which anyone can make up.
const impatience = 250 * time.Millisecond

// Forwarder passes requests on to other servers. Its methods may be called concurrently. Close it to end those under way.
type Forwarder struct {
	opts      Options
	proxy     *httputil.ReverseProxy
	transport *http.Transport
	ctx       context.Context
	cancel    context.CancelFunc

	mu    sync.Mutex
	nodes map[string]*url.URL
	asked time.Time
}

// New returns a Forwarder.
func New(opts Options) *Forwarder {
	if opts.Refresh <= 0 {
		opts.Refresh = 2 * time.Second
	}
	if opts.Timeout <= 0 {
		opts.Timeout = 2 * time.Minute
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	f := &Forwarder{opts: opts}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	f.transport = &http.Transport{
		DialContext:           (&net.Dialer{Timeout: dialTimeout}).DialContext,
		MaxIdleConnsPerHost:   256,
		IdleConnTimeout:       30 * time.Second,
		ResponseHeaderTimeout: opts.Timeout,
		DisableCompression:    true, // what is compressed stays so
	}
	f.proxy = &httputil.ReverseProxy{
		Transport: f.transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(r.In.Context().Value(targetKey{}).(*url.URL))
			r.Out.URL.RawQuery = r.In.URL.RawQuery // as it came: it is the other server that judges it
			r.Out.Host = r.In.Host
			r.Out.Header["X-Forwarded-For"] = r.In.Header["X-Forwarded-For"]
			r.SetXForwarded()
			if proto := r.In.Header.Get("X-Forwarded-Proto"); proto != "" {
				r.Out.Header.Set("X-Forwarded-Proto", proto)
			}
			r.Out.Header.Set(passedOn, opts.NodeID)
		},
		ModifyResponse: func(response *http.Response) error {
			// This server's own handlers say what pages may see.
			for name := range response.Header {
				if strings.HasPrefix(name, "Access-Control-") || name == "Vary" {
					delete(response.Header, name)
				}
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() == nil {
				opts.Logger.Warn("twine: request for another server's session could not be passed on", slog.Any("error", err))
			}
			// The client opens a new session, with what it has of the old one.
			w.Header().Set("Connection", "close")
			http.Error(w, "the server that has this session is out of reach", http.StatusBadGateway)
		},
		ErrorLog: slog.NewLogLogger(opts.Logger.Handler(), slog.LevelWarn),
	}
	return f
}

type targetKey struct{}

// Serve is an [engineio.Options] UnknownSession: it passes a request on if the session is that of another server. It reports
// false, and has done nothing, if it is not, or if the request has been passed on once.
func (f *Forwarder) Serve(w http.ResponseWriter, r *http.Request, sid string) (served bool) {
	node := engineio.NodeOf(sid)
	if node == "" || node == f.opts.NodeID || r.Header.Get(passedOn) != "" || f.ctx.Err() != nil {
		return false
	}
	target := f.find(r.Context(), node)
	if target == nil {
		return false
	}
	ctx, cancel := context.WithCancel(context.WithValue(r.Context(), targetKey{}, target))
	defer cancel()
	defer context.AfterFunc(f.ctx, cancel)()
	f.proxy.ServeHTTP(w, r.WithContext(ctx))
	return true
}

// find returns the address of a server, or nil if there is none of that id.
func (f *Forwarder) find(ctx context.Context, node string) *url.URL {
	f.mu.Lock()
	defer f.mu.Unlock()
	target := f.nodes[node]
	enough := f.opts.Refresh
	if target == nil {
		enough = impatience
	}
	if time.Since(f.asked) < enough {
		return target
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	all, err := f.opts.Nodes(ctx)
	f.asked = time.Now()
	if err != nil {
		f.opts.Logger.Warn("twine: the servers of the cluster are not known; what was known last is used", slog.Any("error", err))
		return target
	}
	f.nodes = make(map[string]*url.URL, len(all))
	for id, address := range all {
		u, err := url.Parse(address)
		if err != nil || u.Host == "" {
			continue // of a server that told nobody where it is
		}
		f.nodes[id] = u
	}
	return f.nodes[node]
}

// Close ends all requests under way, so that clients come back to other servers, and lets no further ones pass.
func (f *Forwarder) Close() {
	f.cancel()
	f.transport.CloseIdleConnections()
}
