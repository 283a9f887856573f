package pubsub

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/twine-realtime/twine/twine/parser"
)

// The kinds of requests that servers send each other, and of some answers.
const (
	typeSockets         = 0
	typeAllRooms        = 1
	typeJoin            = 2
	typeLeave           = 3
	typeDisconnect      = 4
	typeFetch           = 5
	typeServerSideEmit  = 6
	typeBroadcast       = 7 // a broadcast whose receivers are to answer
	typeBroadcastCount  = 8 // an answer: how many there are
	typeBroadcastAnswer = 9 // an answer: one receiver's

	// typeBroadcastLost is an answer of ours to servers of ours: a receiver disconnected before it answered.
	typeBroadcastLost = 113
)

// The names of channels. A broadcast to one room has that room's channel, the others the namespace's.

func broadcastChannel(key, namespace string) string { return key + "#" + namespace + "#" }

func roomChannel(key, namespace, room string) string {
	return broadcastChannel(key, namespace) + room + "#"
}

// requestChannel is where a namespace's requests are published. The number of its subscribers is the number of servers.
func requestChannel(key, namespace string) string { return key + "-request#" + namespace + "#" }

func responseChannel(key, namespace string) string { return key + "-response#" + namespace + "#" }

func specificResponseChannel(key, namespace, uid string) string {
	return responseChannel(key, namespace) + uid + "#"
}

var globEscaper = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`)

// broadcastPattern matches all channels of a namespace's broadcasts, and maybe those of namespaces whose name starts
// with its own and "#".
func broadcastPattern(key, namespace string) string {
	return globEscaper.Replace(broadcastChannel(key, namespace)) + "*"
}

var errMalformed = errors.New("malformed message")

func malformed(what string) error { return fmt.Errorf("%w: %s", errMalformed, what) }

// selection is the sockets that a request is for.
type selection struct {
	Rooms  names `json:"rooms"`
	Except names `json:"except"`
}

// names are rooms. Servers of Node may have numbers among them.
type names []string

// UnmarshalJSON implements json.Unmarshaler.
func (n *names) UnmarshalJSON(data []byte) error {
	var list []name
	if err := json.Unmarshal(data, &list); err != nil {
		return err
	}
	*n = make(names, len(list))
	for i, s := range list {
		(*n)[i] = string(s)
	}
	return nil
}

// MarshalJSON implements json.Marshaler. Servers of Node need a list even if it is empty.
func (n names) MarshalJSON() ([]byte, error) {
	if n == nil {
		return []byte("[]"), nil
	}
	return json.Marshal([]string(n))
}

type name string

// UnmarshalJSON implements json.Unmarshaler.
func (n *name) UnmarshalJSON(data []byte) error {
	if c := data[0]; c == '-' || c >= '0' && c <= '9' {
		*n = name(data)
		return nil
	}
	if data[0] != '"' {
		return malformed("a room is neither text nor a number")
	}
	return json.Unmarshal(data, (*string)(n))
}

// checkNames refuses rooms that the wire would change.
func checkNames(lists ...[]string) error {
	for _, list := range lists {
		for _, name := range list {
			if !utf8.ValidString(name) {
				return fmt.Errorf("pubsub: room %.40q is not UTF-8, which other servers need", name)
			}
		}
	}
	return nil
}

// request is what is published to a request channel. All but those of typeBroadcast are JSON.
type request struct {
	UID       string          `json:"uid,omitempty"`
	RequestID string          `json:"requestId,omitempty"` // typeServerSideEmit: empty if no answer is wanted
	Type      *int            `json:"type"`
	Opts      *selection      `json:"opts,omitempty"`
	Rooms     *names          `json:"rooms,omitempty"` // to join or leave; typeSockets: whose members
	SID       string          `json:"sid,omitempty"`   // with Room: what old servers have instead of Opts
	Room      *name           `json:"room,omitempty"`
	Close     bool            `json:"close,omitempty"`
	Data      json.RawMessage `json:"data,omitempty"` // of an event
	// Twine tells that the sender is a server of ours, which subscribes to its own response channel and understands
	// typeBroadcastLost and response.Args.
	Twine bool `json:"twine,omitempty"`

	broadcast broadcast // typeBroadcast
	size      int       // of the message, in bytes
}

// parseRequest reads what arrived on a request channel. Its errors match errMalformed.
func parseRequest(payload string) (*request, error) {
	r := new(request)
	if len(payload) == 0 || payload[0] != '{' {
		if err := r.unpack(payload); err != nil {
			return nil, err
		}
	} else if err := json.Unmarshal([]byte(payload), r); err != nil {
		return nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
	if r.Type == nil {
		return nil, malformed("a request without a type")
	}
	r.size = len(payload)
	return r, nil
}

// response is what is published to a response channel. All but those of typeBroadcastAnswer are JSON.
type response struct {
	RequestID   string          `json:"requestId"`
	Type        int             `json:"type,omitempty"`
	Sockets     json.RawMessage `json:"sockets,omitempty"` // typeSockets: ids; typeFetch: objects
	Rooms       *names          `json:"rooms,omitempty"`   // typeAllRooms
	ClientCount *int            `json:"clientCount,omitempty"`
	Data        json.RawMessage `json:"data,omitempty"` // of typeServerSideEmit: the first argument, if there is one

	// Members of ours.

	UID    string          `json:"uid,omitempty"`    // the sender
	Args   json.RawMessage `json:"args,omitempty"`   // all arguments, unless it is one
	Member string          `json:"member,omitempty"` // typeBroadcastAnswer, typeBroadcastLost: whose

	answer      []byte // typeBroadcastAnswer: raw JSON array of the arguments
	attachments [][]byte
}

// parseResponse reads what arrived on a response channel. Its errors match errMalformed.
func parseResponse(payload string) (*response, error) {
	r := new(response)
	if len(payload) == 0 || payload[0] != '{' {
		return r, r.unpack(payload)
	}
	if err := json.Unmarshal([]byte(payload), r); err != nil {
		return nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
	return r, nil
}

// arguments returns what a server answered to an event.
func (r *response) arguments() (data []byte, attachments [][]byte, err error) {
	switch {
	case r.Args != nil:
		data = r.Args
	case r.Data != nil:
		data = append(append([]byte{'['}, r.Data...), ']')
	default:
		data = []byte("[]")
	}
	data, attachments = fromNodeJSON(data)
	if _, err := parser.SplitArgs(data); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
	return data, attachments, nil
}

// setArguments is the opposite of arguments.
func (r *response) setArguments(data []byte, attachments [][]byte) error {
	raw, args, err := toNodeJSON(data, attachments)
	if err != nil {
		return err
	}
	if len(args) > 0 {
		r.Data = args[0]
	}
	if len(args) > 1 {
		r.Args = raw
	}
	return nil
}

// remoteSocket is how a socket is described.
type remoteSocket struct {
	ID        string          `json:"id"`
	Handshake json.RawMessage `json:"handshake"`
	Rooms     names           `json:"rooms"`
	Data      json.RawMessage `json:"data,omitempty"`
}
