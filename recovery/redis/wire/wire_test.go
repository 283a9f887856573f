package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/twine-realtime/twine/twine/parser"
)

func TestBroadcastRoundTrip(t *testing.T) {
	no := false
	for _, b := range []Broadcast{
		{Packet: parser.Packet{Type: parser.Event, Data: []byte(`["e",1,"ü\ud83d\ude00"]`)}},
		{Packet: parser.Packet{Type: parser.Event, Data: []byte(`["e",{"a":{},"opts":{"rooms":["x"]}},"},\"opts\":"]`)},
			Options: Options{Rooms: []string{`},"opts":`}}},
		{Packet: parser.Packet{Type: parser.Event, Data: []byte(`["e",{"a":[null,true]}]`)},
			Options: Options{Rooms: []string{"r", "<ü>"}, Except: []string{"x"}, Flags: Flags{Volatile: true, Compress: &no, Timeout: 12}}},
		{Packet: parser.Packet{Type: parser.Event, Data: []byte(`["e",{"_placeholder":true,"num":0},1,{"_placeholder":true,"num":1}]`),
			Attachments: [][]byte{{0, 255}, {}}}, Options: Options{Rooms: []string{"r"}}},
	} {
		data, err := b.StreamData()
		if err != nil {
			t.Fatal(err)
		}
		if (data[0] == '{') != (len(b.Packet.Attachments) == 0) {
			t.Errorf("stream data begins with %q", data[0])
		}
		got, err := ParseBroadcast(data)
		if err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		want := b
		want.Options = want.Options.withLists()
		if !reflect.DeepEqual(*got, want) {
			t.Errorf("got %+v, want %+v", *got, want)
		}
		if got.Recoverable() == b.Options.Flags.Volatile {
			t.Error("recoverable and volatile")
		}
	}
}

// What a server of Node writes: packets have a namespace or not, and flags that
// are of no concern here.
func TestBroadcastOfNode(t *testing.T) {
	for data, recoverable := range map[string]bool{
		`{"packet":{"type":2,"data":["hi",1]},"opts":{"rooms":["r"],"except":[],"flags":{}}}`:                       true,
		`{"packet":{"type":5,"data":["hi"],"nsp":"/"},"opts":{"rooms":[],"except":[],"flags":{"local":false}}}`:     true,
		`{"packet":{"type":2,"data":["hi"]},"opts":{"rooms":[],"except":[]}}`:                                       true,
		`{"packet":{"type":2,"data":["hi"]},"opts":{"rooms":[],"except":[],"flags":{"volatile":true,"timeout":1}}}`: false,
		`{"packet":{"type":2,"data":["hi"],"id":3},"opts":{"rooms":[],"except":[],"flags":{}},"requestId":"x"}`:     false,
	} {
		b, err := ParseBroadcast([]byte(data))
		if err != nil || b.Packet.Type != parser.Event || b.Recoverable() != recoverable {
			t.Errorf("%s: %+v, %v", data, b, err)
		}
	}
	for _, data := range []string{``, `x`, `{"packet":{"type":2,"data":["x"]},"opts":{}},"opts":{}}`, `{"packet":{"type":2,"data":["x"]},"opts":{}`, `{`, `{}`, `{"packet":{"type":2,"data":{}}}`, `{"packet":{"type":2,"data":[]}}`,
		`{"packet":{"type":1,"data":["x"]}}`, `gA==`, `////`, `{"packet":{"type":2,"data":["x"]},"opts":{"rooms":[1]}}`} {
		if b, err := ParseBroadcast([]byte(data)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %+v, %v", data, b, err)
		}
	}
}

func TestRoomsThatJSONWouldChange(t *testing.T) {
	b := Broadcast{Packet: parser.Packet{Type: parser.Event, Data: []byte(`["e"]`)}, Options: Options{Rooms: []string{"\xff"}}}
	if _, err := b.StreamData(); !errors.Is(err, ErrMalformed) {
		t.Error(err)
	}
}

func TestCommandRoundTrip(t *testing.T) {
	for _, c := range []Command{
		{Options: Options{Rooms: []string{"a"}, Except: []string{}}, Rooms: []string{"b"}},
		{Options: Options{Rooms: []string{}, Except: []string{"a"}}, Close: true},
	} {
		data, err := c.StreamData()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ParseCommand(string(data)); err != nil || !reflect.DeepEqual(*got, c) {
			t.Errorf("%s: %+v, %v", data, got, err)
		}
	}
}

func TestMessageRoundTrip(t *testing.T) {
	binary := `["e",{"_placeholder":true,"num":0}]`
	for _, m := range []Message{
		{Type: BroadcastPacket, RequestID: "r", Twine: true, Broadcast: &Broadcast{RequestID: "r",
			Packet:  parser.Packet{Type: parser.Event, Data: []byte(binary), Attachments: [][]byte{{1}}},
			Options: Options{Rooms: []string{"r"}, Except: []string{}, Flags: Flags{Timeout: 5000}}}},
		{Type: FetchSockets, RequestID: "r", Options: Options{Rooms: []string{}, Except: []string{"x"}}},
		{Type: SocketsFetched, RequestID: "r", Sockets: []Socket{{ID: "i", Rooms: []string{"i"}, Handshake: []byte(`{"a":{"b":1}}`),
			Data: []byte(`"x"`)}, {ID: "j", Rooms: []string{}, Handshake: []byte(`{}`)}}},
		{Type: ServerEvent, Data: []byte(binary), Attachments: [][]byte{{1, 2}}},
		{Type: ServerEvent, RequestID: "r", Data: []byte(`["connect"]`)},
		{Type: ServerAnswer, RequestID: "r", Data: []byte(`[{"a":1}]`)},
		{Type: ServerAnswer, RequestID: "r", Data: []byte(`[]`)},
		{Type: ClientAnswer, RequestID: "r", Data: []byte(`[1,2,"x"]`), Member: "m"},
		{Type: ClientAnswer, RequestID: "r", Data: []byte(binary), Attachments: [][]byte{{9}}},
		{Type: ClientCount, RequestID: "r", Count: 0},
		{Type: ClientLost, RequestID: "r", Member: "m"},
		{Type: Heartbeat},
	} {
		m.UID, m.Namespace = "0123456789abcdef", "/chat"
		packed, err := m.Pack()
		if err != nil {
			t.Fatalf("%+v: %v", m, err)
		}
		got, err := Unpack(packed)
		if m.Type == BroadcastPacket {
			m.Options = m.Broadcast.Options
		}
		if err != nil || !reflect.DeepEqual(*got, m) {
			t.Errorf("got %+v, %v, want %+v", got, err, m)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	for _, m := range []Message{
		{Type: ServerEvent, Data: []byte(`["e"]`)},
		{Type: ServerAnswer, RequestID: "r", Data: []byte(`[1,2.5,"x"]`)},
		{Type: SocketsFetched, RequestID: "r", Sockets: []Socket{{ID: "i", Rooms: []string{"r"}, Handshake: []byte(`{"a":{}}`), Data: []byte(`[null]`)}}},
		{Type: BroadcastPacket, Broadcast: &Broadcast{Packet: parser.Packet{Type: parser.Event,
			Data: []byte(`["e",{"_placeholder":true,"num":0}]`), Attachments: [][]byte{{1}}}}},
	} {
		m.UID, m.Namespace = "u", "/"
		packed, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packed)
	}
	f.Add([]byte("\x91\x91\x91\x91"))
	f.Add([]byte("\xdd\xff\xff\xff\xff"))
	f.Add([]byte("\xc9\xff\xff\xff\xff\x01"))
	f.Add([]byte("\x84\xa3uid\xa1u\xa3nsp\xa1/\xa4type\x08\xa4data\x81\xa7sockets\xdc\x00\x02\xc0\xc0"))
	f.Fuzz(func(t *testing.T, packed []byte) {
		m, err := Unpack(packed)
		if err != nil && !errors.Is(err, ErrMalformed) {
			t.Error(err)
		}
		if err == nil {
			_, _ = m.Pack()
		}
		// The check is for what package msgpack takes too, and only for that.
		dec := msgpack.NewDecoder(bytes.NewReader(packed))
		skips := dec.Skip() == nil && dec.Buffered().(*bytes.Reader).Len() == 0
		if err := checkPacked(packed); (err == nil) != skips && !strings.Contains(fmt.Sprint(err), "deep") {
			t.Errorf("checked: %v, skipped: %v", err, skips)
		}
	})
}

// The short way of reading and the long one agree.
func FuzzParseBroadcast(f *testing.F) {
	f.Add(`["e",{"a":{},"opts":{"rooms":["x"]}}]`, `{"rooms":["r"],"except":[],"flags":{}}`)
	f.Fuzz(func(t *testing.T, payload, opts string) {
		data := head + payload + middle + opts + tail
		plain := new(Broadcast)
		if !plain.parsePlain([]byte(data)) {
			return
		}
		var raw jsonBroadcast
		if err := json.Unmarshal([]byte(data), &raw); err != nil {
			return // such as JSON nested deeper than package json reads
		}
		if string(raw.Packet.Data) != string(plain.Packet.Data) || !reflect.DeepEqual(raw.Opts, plain.Options) {
			t.Errorf("%s: %s, %+v or %s, %+v", data, raw.Packet.Data, raw.Opts, plain.Packet.Data, plain.Options)
		}
	})
}
