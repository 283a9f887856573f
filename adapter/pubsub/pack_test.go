package pubsub

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/twine-realtime/twine/adapter"
	"github.com/twine-realtime/twine/twine/parser"
)

var manyRooms = func() (list []string) {
	for range 70000 {
		list = append(list, "r")
	}
	return list
}()

func TestBroadcastOnTheWire(t *testing.T) {
	for _, test := range []struct {
		data        string
		attachments [][]byte
		o           adapter.Options
	}{
		{`["e"]`, nil, adapter.Options{}},
		{`["ü",1,-1,9007199254740993,0.5,1e300,null,true,"\n",[],{},{"a":[{"b":1}]}]`, nil, adapter.Options{Rooms: []string{"a"}}},
		{`["e",{"_placeholder":true,"num":0},{"x":{"_placeholder":true,"num":1}}]`, [][]byte{{0, 255}, {}},
			adapter.Options{Rooms: []string{"a", strings.Repeat("b", 40), strings.Repeat("c", 300), strings.Repeat("d", 70000)}, Except: []string{"", "ü"}}},
		{`["e"]`, nil, adapter.Options{Flags: adapter.Flags{Volatile: true, NoCompress: true, Timeout: 1500 * time.Millisecond}}},
		{`["e"]`, nil, adapter.Options{Rooms: manyRooms[:20], Except: manyRooms}},
	} {
		p := &parser.Packet{Type: parser.Event, Data: []byte(test.data), Attachments: test.attachments}
		message, err := packBroadcast("me", "/chat", p, test.o)
		if err != nil {
			t.Fatal(err)
		}
		got, err := unpackBroadcast(string(message))
		if err != nil {
			t.Fatalf("%s: %v", test.data, err)
		}
		question, err := packQuestion("me", "me-1", "/chat", p, test.o)
		if err != nil {
			t.Fatal(err)
		}
		r, err := parseRequest(string(question))
		if err != nil || r.UID != "me" || r.RequestID != "me-1" || *r.Type != typeBroadcast || !r.Twine {
			t.Fatalf("%s: %+v, %v", test.data, r, err)
		}
		if got.uid != "me" || got.namespace != "/chat" || r.broadcast.namespace != "/chat" {
			t.Errorf("got %+v and %+v", got, r.broadcast)
		}
		for _, b := range []*broadcast{got, &r.broadcast} {
			data, attachments, err := unpackPayload(b.payload)
			if err != nil || len(attachments) != len(test.attachments) {
				t.Fatalf("%s: %v, %v", test.data, attachments, err)
			}
			for i := range attachments {
				if string(attachments[i]) != string(test.attachments[i]) {
					t.Errorf("binary value %v, want %v", attachments[i], test.attachments[i])
				}
			}
			var wantTree, gotTree any
			if json.Unmarshal([]byte(test.data), &wantTree) != nil || json.Unmarshal(data, &gotTree) != nil || !reflect.DeepEqual(wantTree, gotTree) {
				t.Errorf("got %s, want %s", data, test.data)
			}
			if len(b.options.Rooms) != len(test.o.Rooms) || len(b.options.Except) != len(test.o.Except) || b.options.Flags != test.o.Flags {
				t.Errorf("got %+v", b.options.Flags)
			}
			for i, room := range test.o.Rooms {
				if b.options.Rooms[i] != room {
					t.Errorf("room %q, want %q", b.options.Rooms[i], room)
				}
			}
		}
	}
}

// What notepack.io 3 and 2 write for a server of Node: rooms that are numbers, undefined and null in places, members
// that are of no concern here, and dates.
func TestBroadcastOfNode(t *testing.T) {
	for _, test := range []struct {
		message, data string
		rooms         []string
		volatile      bool
	}{
		{"\x93\xa6abcdef" + "\x83\xa4type\x02\xa4data\x92\xa1e\xd7\xff\x00\x00\x00\x00\x00\x00\x00\x01\xa3nsp\xa1/" +
			"\x83\xa5rooms\x93\x01\xd1\xff\x38\xa1x\xa6except\x90\xa5flags\x82\xa8volatile\xc3\xa8compress\xc0",
			`["e","1970-01-01T00:00:01.000Z"]`, []string{"1", "-200", "x"}, true},
		{"\x94\xa6abcdef" + "\x84\xa4type\x05\xa4data\x92\xa1e\xc4\x01\x07\xa7options\x81\xa1a\x91\xc0\xa3nsp\xd4\x00\x00" +
			"\x83\xa5rooms\xc0\xa6except\xd4\x00\x00\xa5flags\x80" + "\xc0",
			`["e",{"_placeholder":true,"num":0}]`, nil, false},
		{"\x93\xa6abcdef" + "\x82\xa4type\xcb\x40\x00\x00\x00\x00\x00\x00\x00\xa4data\x91\xa1e" +
			"\x81\xa5rooms\x91\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00", `["e"]`, []string{"1.5"}, false},
	} {
		b, err := unpackBroadcast(test.message)
		if err != nil {
			t.Errorf("%q: %v", test.message, err)
			continue
		}
		data, _, err := unpackPayload(b.payload)
		if err != nil || string(data) != test.data || b.options.Flags.Volatile != test.volatile || b.options.Flags.NoCompress {
			t.Errorf("got %s, %+v, %v", data, b.options, err)
		}
		if len(b.options.Rooms) != len(test.rooms) || len(test.rooms) > 0 && !reflect.DeepEqual(b.options.Rooms, test.rooms) {
			t.Errorf("rooms %q, want %q", b.options.Rooms, test.rooms)
		}
	}
}

func TestMalformedBroadcast(t *testing.T) {
	good, err := packBroadcast("me", "/", &parser.Packet{Type: parser.Event, Data: []byte(`["e",{"a":[1,2.5]}]`)},
		adapter.Options{Rooms: []string{"a"}, Flags: adapter.Flags{Timeout: time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range good {
		if _, err := unpackBroadcast(string(good[:i])); !errors.Is(err, errMalformed) {
			t.Errorf("cut after %d bytes: %v", i, err)
		}
	}
	for _, message := range []string{"\x93\xa1x\x80\x80", "\x93\xa1x\x82\xa4type\x03\xa4data\x90\x80", "\x93\xa1x\x82\xa4type\x02\xa4data\x91\xa1e\x81\xa5rooms\x91\xc3",
		"\x93\xa1x\x82\xa4type\x02\xa4data\x91\xa1e\x81\xa5rooms\xa1x", "\xdd\xff\xff\xff\xff", "\x93\xc0\x80\x80"} {
		if _, err := unpackBroadcast(message); !errors.Is(err, errMalformed) {
			t.Errorf("%q: %v", message, err)
		}
	}
	for _, payload := range []string{"\x90", "\x91\xc1", "\x91\xa7connect", "\x81\xa1a\x01", strings.Repeat("\x91", 1<<20) + "\x90", "\x91"} {
		if _, _, err := unpackPayload(payload); !errors.Is(err, errMalformed) {
			t.Errorf("%.20q: %v", payload, err)
		}
	}
}

func TestAnswerOnTheWire(t *testing.T) {
	for _, test := range []struct {
		data        string
		attachments [][]byte
		first       string // what a server of Node takes, as JSON
	}{
		{`[]`, nil, `null`},
		{`[1]`, nil, `1`},
		{`[{"a":["x",{"b":null}]},"second"]`, nil, `{"a":["x",{"b":null}]}`},
		{`[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`, [][]byte{{1}, {2}}, `{"_placeholder":true,"num":0}`},
	} {
		message, err := packAnswer("me", "you-1", "m", []byte(test.data), test.attachments)
		if err != nil {
			t.Fatal(err)
		}
		r, err := parseResponse(string(message))
		if err != nil || r.RequestID != "you-1" || r.UID != "me" || r.Member != "m" || r.Type != typeBroadcastAnswer ||
			string(r.answer) != test.data || len(r.attachments) != len(test.attachments) {
			t.Errorf("%s: %+v, %v", test.data, r, err)
		}
		first, err := memberOf(message, "packet")
		if err != nil {
			t.Fatal(err)
		}
		if data, _, err := translate(answerHead, "\x91", first); err != nil || string(data) != "["+test.first+"]" {
			t.Errorf("first of %s: %s, %v", test.data, data, err)
		}
	}
	if _, err := packAnswer("me", "you-1", "m", []byte(`[`), nil); err == nil {
		t.Error("a malformed answer was packed")
	}
}

func FuzzUnpackBroadcast(f *testing.F) {
	for _, data := range []string{`["e"]`, `["e",{"_placeholder":true,"num":0},[1,-300,2.5,1e10,null,true,"x"]]`} {
		p := &parser.Packet{Type: parser.Event, Data: []byte(data)}
		if strings.Contains(data, "_placeholder") {
			p.Attachments = [][]byte{{1, 2}}
		}
		message, err := packBroadcast("uid", "/", p, adapter.Options{Rooms: []string{"a"}, Except: []string{"b"},
			Flags: adapter.Flags{Volatile: true, NoCompress: true, Timeout: time.Second}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(message))
	}
	f.Add("\x94\xa6abcdef\x84\xa4type\x05\xa4data\x92\xa1e\xc4\x01\x07\xa7options\x81\xa1a\x91\xc0\xa3nsp\xd4\x00\x00\x83\xa5rooms\xc0\xa6except\xd4\x00\x00\xa5flags\x80\xc0")
	f.Fuzz(func(t *testing.T, message string) {
		b, err := unpackBroadcast(message)
		if err != nil {
			if !errors.Is(err, errMalformed) {
				t.Error(err)
			}
			return
		}
		data, attachments, err := unpackPayload(b.payload)
		if err != nil {
			if !errors.Is(err, errMalformed) {
				t.Error(err)
			}
			return
		}
		// What can be read can be written.
		if _, err := packBroadcast(b.uid, "/", &parser.Packet{Type: parser.Event, Data: data, Attachments: attachments}, b.options); err != nil {
			t.Errorf("%s: %v", data, err)
		}
	})
}

func FuzzParseRequest(f *testing.F) {
	question, err := packQuestion("uid", "uid-1", "/", &parser.Packet{Type: parser.Event, Data: []byte(`["e"]`)}, adapter.Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(question))
	f.Add(`{"uid":"a","requestId":"b","type":2,"opts":{"rooms":["a",1],"except":[]},"rooms":["x"]}`)
	f.Add(`{"type":6,"data":["e",{"type":"Buffer","data":[1,2]}]}`)
	f.Fuzz(func(t *testing.T, message string) {
		r, err := parseRequest(message)
		if err != nil {
			if !errors.Is(err, errMalformed) {
				t.Error(err)
			}
			return
		}
		if r.broadcast.payload != "" {
			_, _, _ = unpackPayload(r.broadcast.payload)
		}
		data, attachments := fromNodeJSON(r.Data)
		if _, err := parser.SplitArgs(data); err != nil {
			return
		}
		if _, _, err := toNodeJSON(data, attachments); err != nil {
			t.Errorf("%s, read from %s: %v", data, r.Data, err)
		}
	})
}

func FuzzParseResponse(f *testing.F) {
	answer, err := packAnswer("uid", "uid-1", "m", []byte(`[1,{"_placeholder":true,"num":0}]`), [][]byte{{1}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(answer))
	f.Add(`{"requestId":"b","sockets":[{"id":"a","handshake":{},"rooms":["a",2],"data":{}}]}`)
	f.Add(`{"requestId":"b","type":6,"data":{"type":"Buffer","data":[1,2]},"args":[1,2]}`)
	f.Fuzz(func(t *testing.T, message string) {
		r, err := parseResponse(message)
		if err == nil {
			_, _, err = r.arguments()
		}
		if err != nil && !errors.Is(err, errMalformed) {
			t.Error(err)
		}
	})
}
