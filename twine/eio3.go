package twine

import (
	"encoding/json"
	"net/url"
	"strings"

	"github.com/twine-realtime/twine/twine/parser"
)

// Clients of Socket.IO 2.x (engineio.Options.AllowEIO3) speak revision 4 of the Socket.IO protocol. Its packets look the
// same, but connecting differs: every connection is in the main namespace from the start, other namespaces are joined with
// a query in their name instead of a payload, the id is that of the connection, and a refusal is a mere text.

func (c *client) legacy() bool { return c.session.Handshake().Protocol == 3 }

// legacyConnect takes the query out of the namespace's name: it is what the application sees as auth.
func legacyConnect(p *parser.Packet) {
	name, query, found := strings.Cut(p.Namespace, "?")
	p.Namespace, p.Data = name, nil
	if !found {
		return
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return
	}
	auth := make(map[string]any, len(values))
	for key, list := range values {
		if len(list) == 1 {
			auth[key] = list[0]
		} else {
			auth[key] = list
		}
	}
	p.Data, _ = json.Marshal(auth) // strings can always be encoded
}

// legacyID returns the id of a 2.x client's socket.
func (c *client) legacyID(namespace string) string {
	if namespace == "/" {
		return c.session.ID()
	}
	return namespace + "#" + c.session.ID()
}

// legacyRefusal turns a CONNECT_ERROR packet into what a 2.x client expects: the data, or else the message.
func legacyRefusal(p *parser.Packet, refusal *ConnectError) *parser.Packet {
	var reason any = refusal.Message
	if refusal.Data != nil {
		reason = refusal.Data
	}
	data, err := json.Marshal(reason)
	if err != nil {
		return p
	}
	own := *p
	own.Data = data
	return &own
}
