package twine

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Handshake is what a client sent when it connected: the HTTP request that opened the connection, and what it sent to
// join the namespace. As JSON it has the form of the reference implementation's socket.handshake.
type Handshake struct {
	Header  http.Header
	Query   url.Values
	URL     string    // the request's target, path and query
	Address string    // of the network peer, without the port
	Time    time.Time // when the connection was opened
	Secure  bool      // over TLS to this server
	XDomain bool      // the request has an Origin header
	// Auth is the JSON object that the client sent for this namespace, "{}" if it sent none.
	Auth json.RawMessage
}

// BindAuth decodes Auth into the value that v points to.
func (h *Handshake) BindAuth(v any) error {
	if err := json.Unmarshal(h.Auth, v); err != nil {
		return fmt.Errorf("twine: auth of the handshake: %w", err)
	}
	return nil
}

// Handshake returns what the client sent when it connected. It is put together on each call; the caller owns it.
func (s *Socket) Handshake() *Handshake {
	request := s.session.Handshake()
	header := request.Header()
	if request.Host != "" {
		header.Set("Host", request.Host) // net/http keeps it elsewhere
	}
	auth := json.RawMessage(s.auth)
	if len(auth) == 0 {
		auth = json.RawMessage("{}")
	}
	return &Handshake{
		Header:  header,
		Query:   request.Query(),
		URL:     request.RequestURI,
		Address: hostOf(request.RemoteAddr),
		Time:    request.Time,
		Secure:  request.Secure,
		XDomain: header.Get("Origin") != "",
		Auth:    auth,
	}
}

// hostOf returns an address without its port and the brackets of IPv6.
func hostOf(address string) string {
	if i := strings.LastIndexByte(address, ':'); i >= 0 {
		address = address[:i]
	}
	return strings.Trim(address, "[]")
}

// handshakeJSON is a Handshake as the reference implementation shows it.
type handshakeJSON struct {
	Headers map[string]string `json:"headers"`
	Time    string            `json:"time"`
	Address string            `json:"address"`
	XDomain bool              `json:"xdomain"`
	Secure  bool              `json:"secure"`
	Issued  int64             `json:"issued"` // ms
	URL     string            `json:"url"`
	Query   map[string]string `json:"query"`
	Auth    json.RawMessage   `json:"auth"`
}

// MarshalJSON implements [json.Marshaler].
func (h *Handshake) MarshalJSON() ([]byte, error) {
	out := handshakeJSON{
		Headers: make(map[string]string, len(h.Header)),
		Time:    h.Time.Format(time.RFC1123),
		Address: h.Address,
		XDomain: h.XDomain,
		Secure:  h.Secure,
		Issued:  h.Time.UnixMilli(),
		URL:     h.URL,
		Query:   make(map[string]string, len(h.Query)),
		Auth:    h.Auth,
	}
	for name, values := range h.Header {
		separator := ", "
		if name == "Cookie" {
			separator = "; "
		}
		out.Headers[strings.ToLower(name)] = strings.Join(values, separator)
	}
	for name, values := range h.Query {
		out.Query[name] = values[len(values)-1]
	}
	return json.Marshal(out)
}

// UnmarshalJSON implements [json.Unmarshaler].
func (h *Handshake) UnmarshalJSON(data []byte) error {
	var in handshakeJSON
	if err := json.Unmarshal(data, &in); err != nil {
		return err
	}
	*h = Handshake{Header: make(http.Header), Query: make(url.Values), URL: in.URL, Address: in.Address,
		Time: time.UnixMilli(in.Issued), Secure: in.Secure, XDomain: in.XDomain, Auth: in.Auth}
	for name, value := range in.Headers {
		h.Header.Set(name, value)
	}
	for name, value := range in.Query {
		h.Query.Set(name, value)
	}
	return nil
}
