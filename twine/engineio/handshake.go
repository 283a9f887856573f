package engineio

import (
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Handshake is a compact copy of the request that opened a session. It is immutable; its methods may be called
// concurrently. The parsed forms are made on each call, so keep what you need instead of asking twice.
type Handshake struct {
	// RemoteAddr is the network address of the peer, as in http.Request.
	RemoteAddr string
	// Host is the host that the client asked for.
	Host string
	// RequestURI is the request target as the client sent it.
	RequestURI string
	// Secure tells whether the request came over TLS to this server.
	Secure bool
	// Protocol is the Engine.IO protocol revision: 4, or 3 with AllowEIO3.
	Protocol int
	// Time is when the handshake arrived.
	Time time.Time

	header string // "Name\x00value\x00" pairs; one string instead of a map of slices
}

func newHandshake(r *http.Request, protocol int) *Handshake {
	n := 0
	for name, values := range r.Header {
		for _, v := range values {
			n += len(name) + len(v) + 2
		}
	}
	var b strings.Builder
	b.Grow(n)
	for name, values := range r.Header {
		for _, v := range values {
			b.WriteString(name)
			b.WriteByte(0)
			b.WriteString(v)
			b.WriteByte(0)
		}
	}
	return &Handshake{
		// Clones, because the originals are parts of a larger buffer that would be kept alive.
		RemoteAddr: strings.Clone(r.RemoteAddr),
		Host:       strings.Clone(r.Host),
		RequestURI: strings.Clone(r.RequestURI),
		Secure:     r.TLS != nil,
		Protocol:   protocol,
		Time:       time.Now(),
		header:     b.String(),
	}
}

// Header returns the request's headers. The caller owns the map.
func (h *Handshake) Header() http.Header {
	header := make(http.Header)
	for rest := h.header; rest != ""; {
		name, after, _ := strings.Cut(rest, "\x00")
		value, next, _ := strings.Cut(after, "\x00")
		header[name] = append(header[name], value)
		rest = next
	}
	return header
}

// Cookie returns the value of the named cookie of the request, and whether there was one.
func (h *Handshake) Cookie(name string) (string, bool) {
	r := http.Request{Header: h.Header()}
	c, err := r.Cookie(name)
	if err != nil {
		return "", false
	}
	return c.Value, true
}

// URL returns the parsed request target. It is never nil.
func (h *Handshake) URL() *url.URL {
	u, err := url.ParseRequestURI(h.RequestURI)
	if err != nil {
		return &url.URL{}
	}
	return u
}

// Query returns the parameters of the request, those of Engine.IO (EIO, transport, …) included.
func (h *Handshake) Query() url.Values { return h.URL().Query() }
