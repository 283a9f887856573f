package zishang520

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/zishang520/socket.io/v2/socket"
)

// handshakeJSON is a handshake as servers tell each other: names of headers are
// in lower case, and there is one value for each.
type handshakeJSON struct {
	Headers map[string]any `json:"headers"`
	Time    string         `json:"time"`
	Address string         `json:"address"`
	XDomain bool           `json:"xdomain"`
	Secure  bool           `json:"secure"`
	Issued  int64          `json:"issued"` // ms
	URL     string         `json:"url"`
	Query   map[string]any `json:"query"`
	Auth    any            `json:"auth"`
}

// packHandshake never fails: what is no JSON is left out.
func packHandshake(h *socket.Handshake) json.RawMessage {
	out := handshakeJSON{Headers: make(map[string]any, len(h.Headers)), Time: h.Time, Address: h.Address,
		XDomain: h.Xdomain, Secure: h.Secure, Issued: h.Issued, URL: h.Url, Query: make(map[string]any, len(h.Query)), Auth: h.Auth}
	if out.Auth == nil {
		out.Auth = struct{}{}
	}
	for name, values := range h.Headers {
		separator := ", "
		if strings.EqualFold(name, "Cookie") {
			separator = "; "
		}
		out.Headers[strings.ToLower(name)] = strings.Join(values, separator)
	}
	for name, values := range h.Query {
		if len(values) > 0 {
			out.Query[name] = values[len(values)-1]
		}
	}
	data, err := json.Marshal(out)
	if err != nil {
		return json.RawMessage("{}")
	}
	return data
}

func unpackHandshake(data json.RawMessage) (*socket.Handshake, error) {
	var in handshakeJSON
	if err := json.Unmarshal(data, &in); err != nil {
		return nil, err
	}
	h := &socket.Handshake{Headers: make(map[string][]string, len(in.Headers)), Time: in.Time, Address: in.Address,
		Xdomain: in.XDomain, Secure: in.Secure, Issued: in.Issued, Url: in.URL, Query: make(map[string][]string, len(in.Query)), Auth: in.Auth}
	for name, value := range in.Headers {
		h.Headers[http.CanonicalHeaderKey(name)] = list(value)
	}
	for name, value := range in.Query {
		h.Query[name] = list(value)
	}
	return h, nil
}

// list is one string or several, as Node has them.
func list(value any) []string {
	switch v := value.(type) {
	case string:
		return []string{v}
	case []any:
		var all []string
		for _, e := range v {
			all = append(all, list(e)...)
		}
		return all
	}
	return nil
}
