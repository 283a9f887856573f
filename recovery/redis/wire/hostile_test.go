package wire

import (
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/twine-realtime/twine/twine/parser"
)

// readers are all ways in which a message of Redis is read.
var readers = map[string]func(packed string) error{
	"Unpack":          func(packed string) error { _, err := Unpack([]byte(packed)); return err },
	"UnpackBroadcast": func(packed string) error { _, err := UnpackBroadcast([]byte(packed)); return err },
	"ParseBroadcast": func(packed string) error {
		_, err := ParseBroadcast(base64.StdEncoding.AppendEncode(nil, []byte(packed)))
		return err
	},
	"ParseCommand": func(packed string) error {
		_, err := ParseCommand(base64.StdEncoding.EncodeToString([]byte(packed)))
		return err
	},
}

// Messages that used to end the process, by the depth of its stack, or that promise more than they hold.
func TestHostileMessages(t *testing.T) {
	const deep = 8 << 20
	envelope := "\x84\xa3uid\xa1u\xa3nsp\xa1/\xa4type\x03\xa4data"
	for name, packed := range map[string]string{
		"arrays":                     strings.Repeat("\x91", deep),
		"arrays in data":             envelope + strings.Repeat("\x91", deep),
		"closed arrays in data":      envelope + strings.Repeat("\x91", deep) + "\xc0",
		"maps":                       strings.Repeat("\x81\xa1x", deep/3),
		"maps as keys":               strings.Repeat("\x81", deep) + strings.Repeat("\xc0", deep+1),
		"arrays in packet":           envelope + "\x81\xa6packet\x82\xa4type\x02\xa4data" + strings.Repeat("\x91", deep) + "\xc0",
		"long array":                 "\xdd\xff\xff\xff\xff",
		"long map":                   "\xdf\xff\xff\xff\xff",
		"long arrays in arrays":      strings.Repeat("\xdd\xff\xff\xff\xff", 1000),
		"long string":                "\xdb\xff\xff\xff\xff",
		"long binary":                "\xc6\xff\xff\xff\xff",
		"long extension":             "\xc9\xff\xff\xff\xff\x01",
		"long rooms":                 envelope + "\x81\xa4opts\x81\xa5rooms\xdd\xff\xff\xff\xff",
		"long extension as a packet": envelope + "\x81\xa6packet\xc9\xff\xff\xff\xff\x01",
		"cut off extension":          envelope + "\xd4",
		"reserved code":              envelope + "\xc1",
		"broadcast without data":     "\x83\xa3uid\xa1u\xa3nsp\xa1/\xa4type\x03",
		"broadcast of nothing":       envelope + "\xc0",
		"event without data":         "\x83\xa3uid\xa1u\xa3nsp\xa1/\xa4type\x09",
		"fewer clients than none":    "\x84\xa3uid\xa1u\xa3nsp\xa1/\xa4type\x0b\xa4data\x81\xabclientCount\xff",
		"more than one value":        "\x80\xc0",
		"nothing":                    "",
	} {
		for reader, read := range readers {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := read(packed)
			runtime.ReadMemStats(&after)
			if !errors.Is(err, ErrMalformed) {
				t.Errorf("%s of %s: %v", reader, name, err)
			}
			// Base64 and back, and the conversions above, take some multiples of the message.
			if spent := after.TotalAlloc - before.TotalAlloc; spent > 1<<20+8*uint64(len(packed)) {
				t.Errorf("%s of %s, which has %d bytes, takes %d", reader, name, len(packed), spent)
			}
		}
	}
}

// A list of sockets cannot be longer than what says what they are.
func TestEmptySockets(t *testing.T) {
	const n = 1 << 20
	packed := "\x84\xa3uid\xa1u\xa3nsp\xa1/\xa4type\x08\xa4data\x81\xa7sockets" + fmt.Sprintf("\xdd%c%c%c%c", 0, n>>16, 0, 0) +
		strings.Repeat("\xc0", n)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := Unpack([]byte(packed))
	runtime.ReadMemStats(&after)
	if spent := after.TotalAlloc - before.TotalAlloc; !errors.Is(err, ErrMalformed) || spent > 32*n {
		t.Errorf("%d bytes of memory, %v", spent, err)
	}
}

// What may be published at all passes through the cluster, as deep as it may be.
func TestDeepestPayload(t *testing.T) {
	// An array around, and the placeholder's object inside.
	const nested = parser.MaxDepth - 2
	payload := `["e",` + strings.Repeat("[", nested) + `{"_placeholder":true,"num":0}` + strings.Repeat("]", nested) + "]"
	b := Broadcast{RequestID: "r", Packet: parser.Packet{Type: parser.Event, Data: []byte(payload), Attachments: [][]byte{{1}}}}
	data, err := b.StreamData()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParseBroadcast(data); err != nil || string(got.Packet.Data) != payload {
		t.Errorf("from the stream: %v", err)
	}
	m := Message{UID: "u", Namespace: "/", Type: BroadcastPacket, Broadcast: &b}
	packed, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Unpack(packed); err != nil || string(got.Broadcast.Packet.Data) != payload {
		t.Errorf("from a channel: %v", err)
	}
	deepData := strings.Repeat("[", parser.MaxDepth-1) + strings.Repeat("]", parser.MaxDepth-1)
	m = Message{UID: "u", Namespace: "/", Type: SocketsFetched, Sockets: []Socket{{ID: "i", Handshake: []byte(`{}`), Data: []byte(deepData)}}}
	if packed, err = m.Pack(); err != nil {
		t.Fatal(err)
	}
	if got, err := Unpack(packed); err != nil || string(got.Sockets[0].Data) != deepData {
		t.Errorf("a socket's data: %v", err)
	}
}
