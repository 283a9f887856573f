package msgpack

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/twine-realtime/twine/twine/parser"
)

// recorded are messages as socket.io-msgpack-parser 3.0.2 (notepack.io 2.2.0) encodes them in Node, and, where the name says
// so, the browser's build of it and notepack.io 3.0.1.
var recorded = []struct {
	name    string
	message string // hex
	packet  parser.Packet
	lossy   bool // JSON cannot tell what it was, so encoding the packet gives another message
}{
	{"connect, data undefined", "83a47479706500a464617461d40000a36e7370a12f",
		parser.Packet{Type: parser.Connect, Namespace: "/"}, true},
	{"connect with auth", "83a47479706500a46461746181a5746f6b656ea3616263a36e7370a62f61646d696e",
		parser.Packet{Type: parser.Connect, Namespace: "/admin", Data: []byte(`{"token":"abc"}`)}, false},
	{"connect by the server",
		"83a47479706500a46461746181a3736964b47153624842395a41414141414141414141414142a36e7370a12f",
		parser.Packet{Type: parser.Connect, Namespace: "/", Data: []byte(`{"sid":"qSbHB9ZAAAAAAAAAAAAB"}`)}, false},
	{"disconnect", "82a47479706501a36e7370a12f",
		parser.Packet{Type: parser.Disconnect, Namespace: "/"}, false},
	{"event, with a client's options",
		"84a47479706502a46461746198a568656c6c6f01a132c0c3c2cb3ff8000000000000f9" +
			"a76f7074696f6e7381a8636f6d7072657373c3a36e7370a12f",
		event("/", `["hello",1,"2",null,true,false,1.5,-7]`), true},
	{"event with undefined everywhere",
		"85a47479706502a46461746193a175d4000083a161d40000a16201a163d40000" +
			"a76f7074696f6e7381a8636f6d7072657373c3a26964d40000a36e7370a12f",
		event("/", `["u",null,{"b":1}]`), true},
	{"event that wants an acknowledgement",
		"85a47479706502a46461746191a361736ba76f7074696f6e7381a8636f6d7072657373c3a26964cd012ca36e7370a42f666f6f",
		parser.Packet{Type: parser.Event, Namespace: "/foo", ID: 300, HasID: true, Data: []byte(`["ask"]`)}, true},
	{"acknowledgement", "84a47479706503a4646174619181a26f6b01a26964cd012ca36e7370a42f666f6f",
		parser.Packet{Type: parser.Ack, Namespace: "/foo", ID: 300, HasID: true, Data: []byte(`[{"ok":1}]`)}, false},
	{"connect error", "83a47479706504a46461746182a76d657373616765a26e6fa46461746181a4636f646507a36e7370a12f",
		parser.Packet{Type: parser.ConnectError, Namespace: "/", Data: []byte(`{"message":"no","data":{"code":7}}`)}, false},
	{"connect error as text", "83a47479706504a464617461a26e6fa36e7370a12f",
		parser.Packet{Type: parser.ConnectError, Namespace: "/", Data: []byte(`"no"`)}, false},
	{"Buffer, and an empty one", "83a47479706502a46461746193a362696ec40301020381a46465657091c400a36e7370a12f",
		event("/", `["bin",{"_placeholder":true,"num":0},{"deep":[{"_placeholder":true,"num":1}]}]`, "\x01\x02\x03", ""), false},
	{"Uint8Array", "83a47479706502a46461746192a362696ec70300010203a36e7370a12f",
		event("/", `["bin",{"_placeholder":true,"num":0}]`, "\x01\x02\x03"), true},
	{"ArrayBuffer as long as a Date", "83a47479706502a46461746192a362696ec708000102030405060708a36e7370a12f",
		event("/", `["bin",{"_placeholder":true,"num":0}]`, "\x01\x02\x03\x04\x05\x06\x07\x08"), true},
	{"Date", "83a47479706502a46461746192a26174d7000000018bcfe5687ba36e7370a12f",
		event("/", `["at","2023-11-14T22:13:20.123Z"]`), true},
	{"Date before 1970", "83a47479706502a46461746192a26174d700ffffffffffffffffa36e7370a12f",
		event("/", `["at","1969-12-31T23:59:59.999Z"]`), true},
	{"whole numbers",
		"83a47479706502a464617461dc0014a16e7fcc80ccffcd0100cdffffce00010000ceffffffffcf0000000100000000" +
			"cf001fffffffffffffffe0d0dfd080d1ff7fd18000d2ffff7fffd280000000d3ffffffff7fffffff" +
			"d3ffe0000000000001a36e7370a12f",
		event("/", `["n",127,128,255,256,65535,65536,4294967295,4294967296,9007199254740991,`+
			`-1,-32,-33,-128,-129,-32768,-32769,-2147483648,-2147483649,-9007199254740991]`), false},
	{"other numbers",
		"83a47479706502a46461746197a166cb3fb999999999999acbbe7ad7f29abcaf48cb7fefffffffffffff" +
			"cb7ff8000000000000cb7ff000000000000000a36e7370a12f",
		event("/", `["f",0.1,-1e-7,1.7976931348623157e+308,null,null,0]`), true},
	{"strings",
		"83a47479706502a46461746197a173a0a2c3a9a9e381a6e38199e381a8a4f09f918d" +
			"d9206161616161616161616161616161616161616161616161616161616161616161a400225c0aa36e7370a12f",
		event("/", `["s","","é","てすと","👍","`+strings.Repeat("a", 32)+`","\u0000\"\\\n"]`), false},
	{"keys in their order", "83a47479706502a46461746192a16f85a2313005a17a01a16102a2c3a903a004a36e7370a12f",
		event("/", `["o",{"10":5,"z":1,"a":2,"é":3,"":4}]`), false},
	{"browser: ArrayBuffer, and Uint8Array, which it takes for an object",
		"84a47479706502a46461746193a162c402090881a13007a76f7074696f6e7381a8636f6d7072657373c3a36e7370a12f",
		event("/", `["b",{"_placeholder":true,"num":0},{"0":7}]`, "\x09\x08"), true},
	{"3.0: connect, data undefined", "82a47479706500a36e7370a12f",
		parser.Packet{Type: parser.Connect, Namespace: "/"}, false},
	{"3.0: dates, undefined and Uint8Array",
		"83a47479706502a46461746197a26174d6ff6553f100d7ff1d5353006553f100c70cff3b8b87c0ffffffffffffffff" +
			"c0c4010580a36e7370a12f",
		event("/", `["at","2023-11-14T22:13:20.000Z","2023-11-14T22:13:20.123Z","1969-12-31T23:59:59.999Z",`+
			`null,{"_placeholder":true,"num":0},{}]`, "\x05"), true},
}

func event(namespace, data string, attachments ...string) parser.Packet {
	p := parser.Packet{Type: parser.Event, Namespace: namespace, Data: []byte(data)}
	for _, a := range attachments {
		p.Attachments = append(p.Attachments, []byte(a))
	}
	return p
}

func TestDecodeRecorded(t *testing.T) {
	for _, tt := range recorded {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Codec.NewDecoder().Decode(unhex(t, tt.message), true)
			if err != nil {
				t.Fatal(err)
			}
			expectPacket(t, got, &tt.packet)
		})
	}
}

func TestEncodeRecorded(t *testing.T) {
	for _, tt := range recorded {
		t.Run(tt.name, func(t *testing.T) {
			message := encode(t, &tt.packet)
			expectPacket(t, decode(t, message), &tt.packet)
			if !tt.lossy && hex.EncodeToString(message) != tt.message {
				t.Errorf("got  %x\nwant %s", message, tt.message)
			}
		})
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func encode(t testing.TB, p *parser.Packet) []byte {
	t.Helper()
	parts, err := Codec.Encode(p)
	if err != nil {
		t.Fatalf("encode %s: %v", show(p), err)
	}
	if len(parts) != 1 || !parts[0].Binary {
		t.Fatalf("encode %s: %d parts", show(p), len(parts))
	}
	return parts[0].Data
}

func decode(t testing.TB, message []byte) *parser.Packet {
	t.Helper()
	p, err := Codec.NewDecoder().Decode(message, true)
	if err != nil {
		t.Fatalf("decode %x: %v", message, err)
	}
	return p
}

func expectPacket(t testing.TB, got, want *parser.Packet) {
	t.Helper()
	if show(got) != show(want) {
		t.Errorf("got  %s\nwant %s", show(got), show(want))
	}
}

func show(p *parser.Packet) string {
	if p == nil {
		return "no packet"
	}
	return fmt.Sprintf("%v %q id=%d,%v data=%s attachments=%q", p.Type, p.Namespace, p.ID, p.HasID, p.Data, p.Attachments)
}
