package parser

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// msg is a message to decode: a string is text, a []byte is binary.
type msg any

func feed(d Decoder, messages ...msg) (*Packet, error) {
	var p *Packet
	var err error
	for i, m := range messages {
		switch m := m.(type) {
		case string:
			p, err = d.Decode([]byte(m), false)
		case []byte:
			p, err = d.Decode(m, true)
		}
		if err != nil {
			return nil, err
		}
		if (p == nil) != (i < len(messages)-1) {
			return nil, fmt.Errorf("message %d: packet is %v", i, p)
		}
	}
	return p, nil
}

func TestDecode(t *testing.T) {
	const one = `{"_placeholder":true,"num":0}`
	bin := []byte{1, 2, 3}
	tests := []struct {
		name     string
		messages []msg
		want     Packet
	}{
		{"connect", []msg{`0`}, Packet{Type: Connect}},
		{"connect with auth", []msg{`0{"token":"1"}`}, Packet{Type: Connect, Data: []byte(`{"token":"1"}`)}},
		{"connect to a namespace", []msg{`0/admin,`}, Packet{Type: Connect, Namespace: "/admin"}},
		{"connect to a namespace without comma", []msg{`0/admin`}, Packet{Type: Connect, Namespace: "/admin"}},
		{"connect to the main namespace by name", []msg{`0/,{}`}, Packet{Type: Connect, Data: []byte(`{}`)}},
		{"a query is part of the name", []msg{`0/admin?token=1&a=b,{}`},
			Packet{Type: Connect, Namespace: "/admin?token=1&a=b", Data: []byte(`{}`)}},
		{"disconnect", []msg{`1`}, Packet{Type: Disconnect}},
		{"disconnect from a namespace", []msg{`1/admin,`}, Packet{Type: Disconnect, Namespace: "/admin"}},
		{"event", []msg{`2["a",1,{}]`}, Packet{Type: Event, Data: []byte(`["a",1,{}]`)}},
		{"event in a namespace with an id", []msg{`2/admin,456["x"]`},
			Packet{Type: Event, Namespace: "/admin", ID: 456, HasID: true, Data: []byte(`["x"]`)}},
		{"id zero", []msg{`20["x"]`}, Packet{Type: Event, HasID: true, Data: []byte(`["x"]`)}},
		{"largest id", []msg{`218446744073709551615["x"]`},
			Packet{Type: Event, ID: 1<<64 - 1, HasID: true, Data: []byte(`["x"]`)}},
		{"a number as event name", []msg{`2[1]`}, Packet{Type: Event, Data: []byte(`[1]`)}},
		{"a negative number as event name", []msg{`2[-1.5e3,null]`}, Packet{Type: Event, Data: []byte(`[-1.5e3,null]`)}},
		{"an empty event name", []msg{`2[""]`}, Packet{Type: Event, Data: []byte(`[""]`)}},
		{"a name that begins with a reserved one", []msg{`2["connected"]`}, Packet{Type: Event, Data: []byte(`["connected"]`)}},
		{"a reserved name as argument", []msg{`2["x","connect"]`}, Packet{Type: Event, Data: []byte(`["x","connect"]`)}},
		{"white space inside and behind", []msg{"2[ \"x\" , 1\t]\r\n "}, Packet{Type: Event, Data: []byte("[ \"x\" , 1\t]")}},
		{"unicode", []msg{`2["てすと","\ud83d\ude00 \ud800"]`}, Packet{Type: Event, Data: []byte(`["てすと","\ud83d\ude00 \ud800"]`)}},
		{"text that looks like a placeholder", []msg{`2["x",{"_placeholder":true,"num":7}]`},
			Packet{Type: Event, Data: []byte(`["x",{"_placeholder":true,"num":7}]`)}},
		{"acknowledgement", []msg{`312["a",1]`}, Packet{Type: Ack, ID: 12, HasID: true, Data: []byte(`["a",1]`)}},
		{"empty acknowledgement", []msg{`3/a,1[]`}, Packet{Type: Ack, Namespace: "/a", ID: 1, HasID: true, Data: []byte(`[]`)}},
		{"acknowledgement without id", []msg{`3[]`}, Packet{Type: Ack, Data: []byte(`[]`)}},
		{"reserved names are events only", []msg{`31["connect"]`}, Packet{Type: Ack, ID: 1, HasID: true, Data: []byte(`["connect"]`)}},
		{"connect error, object", []msg{`4/admin,{"message":"no"}`},
			Packet{Type: ConnectError, Namespace: "/admin", Data: []byte(`{"message":"no"}`)}},
		{"connect error, string", []msg{`4"no"`}, Packet{Type: ConnectError, Data: []byte(`"no"`)}},
		{"binary event", []msg{`51-["b",` + one + `]`, bin},
			Packet{Type: Event, Data: []byte(`["b",` + one + `]`), Attachments: [][]byte{bin}}},
		{"binary event in a namespace with an id", []msg{`52-/a,7["b",{"x":[` + one + `]},{"num":1,"_placeholder":true}]`, bin, []byte{}},
			Packet{Type: Event, Namespace: "/a", ID: 7, HasID: true,
				Data: []byte(`["b",{"x":[` + one + `]},{"num":1,"_placeholder":true}]`), Attachments: [][]byte{bin, {}}}},
		{"binary acknowledgement", []msg{`61-15[` + one + `]`, bin},
			Packet{Type: Ack, ID: 15, HasID: true, Data: []byte(`[` + one + `]`), Attachments: [][]byte{bin}}},
		{"an attachment that nothing refers to", []msg{`51-["x"]`, bin},
			Packet{Type: Event, Data: []byte(`["x"]`), Attachments: [][]byte{bin}}},
		{"no placeholder unless true", []msg{`51-["x",{"_placeholder":1,"num":9},` + one + `]`, bin},
			Packet{Type: Event, Data: []byte(`["x",{"_placeholder":1,"num":9},` + one + `]`), Attachments: [][]byte{bin}}},
		{"the last of equal keys counts", []msg{`51-["x",{"_placeholder":false,"num":5,"_placeholder":true,"num":0}]`, bin},
			Packet{Type: Event, Data: []byte(`["x",{"_placeholder":false,"num":5,"_placeholder":true,"num":0}]`), Attachments: [][]byte{bin}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.want.Namespace == "" {
				tt.want.Namespace = "/"
			}
			d := JSON.NewDecoder()
			for range 2 { // a decoder is ready for the next packet
				got, err := feed(d, tt.messages...)
				if err != nil {
					t.Fatal(err)
				}
				if !reflect.DeepEqual(*got, tt.want) {
					t.Errorf("got  %+v\nwant %+v", *got, tt.want)
				}
			}
		})
	}
}

func TestDecodeMalformed(t *testing.T) {
	const one = `{"_placeholder":true,"num":0}`
	deep := strings.Repeat("[", MaxDepth)
	tests := []struct {
		messages []msg
		want     error
	}{
		{[]msg{``}, errEmpty},
		{[]msg{`a`}, errType},
		{[]msg{`abc`}, errType},
		{[]msg{`7`}, errType},
		{[]msg{`9["x"]`}, errType},
		{[]msg{"\x00"}, errType},
		{[]msg{`["x"]`}, errType},

		{[]msg{`0[]`}, errPayload},
		{[]msg{`0"x"`}, errPayload},
		{[]msg{`0null`}, errPayload},
		{[]msg{`0/admin,"x"`}, errPayload},
		{[]msg{`0{"a":1`}, errJSON},
		{[]msg{`0admin`}, errPayload},
		{[]msg{`1{}`}, errPayload},
		{[]msg{`1[]`}, errPayload},
		{[]msg{`1/admin,{}`}, errPayload},
		{[]msg{`1 `}, errPayload},
		{[]msg{`4`}, errPayload},
		{[]msg{`4[]`}, errPayload},
		{[]msg{`4/x,`}, errPayload},
		{[]msg{`442["some","data"`}, errPayload},
		{[]msg{`4{"message":}`}, errJSON},
		{[]msg{`4abc`}, errPayload},

		{[]msg{`2`}, errPayload},
		{[]msg{`212`}, errPayload},
		{[]msg{`2/x,`}, errPayload},
		{[]msg{`2/["x"]`}, errPayload},
		{[]msg{`2{}`}, errPayload},
		{[]msg{`2"x"`}, errPayload},
		{[]msg{`2 ["x"]`}, errPayload},
		{[]msg{`21 ["x"]`}, errPayload},
		{[]msg{"2\ufeff[\"x\"]"}, errPayload},
		{[]msg{`2-1["x"]`}, errPayload},
		{[]msg{`21.5["x"]`}, errPayload},
		{[]msg{`2[]`}, errEventName},
		{[]msg{`2[ ]`}, errEventName},
		{[]msg{`2[true]`}, errEventName},
		{[]msg{`2[null,"x"]`}, errEventName},
		{[]msg{`2[["x"]]`}, errEventName},
		{[]msg{`2[{"toString":"x"}]`}, errEventName},
		{[]msg{`2["x"`}, errJSON},
		{[]msg{`2["x]`}, errJSON},
		{[]msg{`2["x",]`}, errJSON},
		{[]msg{`2["x"]]`}, errJSON},
		{[]msg{`2["x"]["y"]`}, errJSON},
		{[]msg{`2["x",01]`}, errJSON},
		{[]msg{"2[\"x\ny\"]"}, errJSON},
		{[]msg{`2["x",{"a"}]`}, errJSON},
		{[]msg{`2["x",{"a":1,}]`}, errJSON},
		{[]msg{`2["x",{"a":1]}`}, errJSON},
		{[]msg{`2["\x"]`}, errJSON},
		{[]msg{`2["\u12g4"]`}, errJSON},
		{[]msg{`2["x",NaN]`}, errJSON},
		{[]msg{`2["connect"]`}, ErrReservedEvent},
		{[]msg{`2["connect_error",1]`}, ErrReservedEvent},
		{[]msg{`2["disconnect","123"]`}, ErrReservedEvent},
		{[]msg{`2/a,1["disconnecting"]`}, ErrReservedEvent},
		{[]msg{`2["newListener"]`}, ErrReservedEvent},
		{[]msg{`2["removeListener"]`}, ErrReservedEvent},
		{[]msg{`2["conn\u0065ct"]`}, ErrReservedEvent},
		{[]msg{`299999999999999999999["x"]`}, errID},
		{[]msg{`218446744073709551616["x"]`}, errID},
		{[]msg{`2` + strings.Repeat("9", 400) + `["x"]`}, errID},
		{[]msg{`3`}, errPayload},
		{[]msg{`312`}, errPayload},
		{[]msg{`31{}`}, errPayload},
		{[]msg{`31"x"`}, errPayload},

		{[]msg{"2[\"\xff\"]"}, errUTF8},
		{[]msg{"2[\"\xed\xa0\x80\"]"}, errUTF8},
		{[]msg{"0/\xc3,"}, errUTF8},
		{[]msg{`2["x",` + deep + strings.Repeat("]", MaxDepth) + `]`}, ErrTooDeep},
		{[]msg{`2["x",` + strings.Repeat("[", 500_000)}, ErrTooDeep},
		{[]msg{`2["x",` + strings.Repeat(`{"a":`, 200_000)}, ErrTooDeep},
		{[]msg{`51-["x",` + strings.Repeat(`{"_placeholder":`, 100_000)}, ErrTooDeep},
		{[]msg{`0` + strings.Repeat(`{"a":`, MaxDepth+1) + `1` + strings.Repeat("}", MaxDepth+1)}, ErrTooDeep},

		{[]msg{`5`}, errAttachmentCount},
		{[]msg{`51`}, errAttachmentCount},
		{[]msg{`5-["x"]`}, errAttachmentCount},
		{[]msg{`50-`}, errAttachmentCount},
		{[]msg{`50-["x"]`}, errAttachmentCount},
		{[]msg{`5a-["x"]`}, errAttachmentCount},
		{[]msg{`5-1-["x"]`}, errAttachmentCount},
		{[]msg{`51.23-["x"]`}, errAttachmentCount},
		{[]msg{`5["x"]`}, errAttachmentCount},
		{[]msg{`60-1[]`}, errAttachmentCount},
		{[]msg{`511-["x"]`}, ErrTooManyAttachments},
		{[]msg{`5` + strings.Repeat("9", 400) + `-["x"]`}, ErrTooManyAttachments},
		{[]msg{`51-`}, errPayload},
		{[]msg{`51-{}`}, errPayload},
		{[]msg{`51-["connect"]`}, ErrReservedEvent},
		{[]msg{`51-[` + one + `]`}, errEventName},
		{[]msg{`51-["x",{"_placeholder":true,"num":1}]`}, errPlaceholder},
		{[]msg{`51-["x",{"_placeholder":true,"num":-1}]`}, errPlaceholder},
		{[]msg{`51-["x",{"_placeholder":true,"num":0.5}]`}, errPlaceholder},
		{[]msg{`51-["x",{"_placeholder":true,"num":"0"}]`}, errPlaceholder},
		{[]msg{`51-["x",{"_placeholder":true,"num":1e99}]`}, errPlaceholder},
		{[]msg{`51-["x",{"_placeholder":true}]`}, errPlaceholder},
		{[]msg{`51-["x",{"\u005fplaceholder":true,"num":1}]`}, errPlaceholder},
		{[]msg{`51-["x",[{"a":{"_placeholder" : true , "num" : 3 } } ] ]`}, errPlaceholder},
		{[]msg{`61-1[{"_placeholder":true,"num":1}]`}, errPlaceholder},
		{[]msg{`51-["x",` + one + `,` + one + `]`}, errPlaceholder},

		{[]msg{[]byte{1}}, errUnexpectedBinary},
		{[]msg{[]byte{}}, errUnexpectedBinary},
		{[]msg{`51-["x"]`, `2["x"]`}, errUnexpectedText},
		{[]msg{`51-["x"]`, `51-["x"]`}, errUnexpectedText},
		{[]msg{`52-["x"]`, []byte{1}, `1`}, errUnexpectedText},
		{[]msg{`51-["x"]`, ``}, errUnexpectedText},
	}
	for _, tt := range tests {
		name := fmt.Sprintf("%.40q", tt.messages)
		t.Run(name, func(t *testing.T) {
			d := JSON.NewDecoder()
			p, err := feed(d, tt.messages...)
			if !errors.Is(err, tt.want) || !errors.Is(err, ErrMalformed) || p != nil {
				t.Fatalf("got %v and %v, want %v", p, err, tt.want)
			}
			if _, err := feed(d, []byte{1}); !errors.Is(err, errUnexpectedBinary) {
				t.Errorf("the error left an attachment outstanding: %v", err)
			}
		})
	}
}

// A text message followed by more attachments than it announced: the surplus belongs to no packet.
func TestDecodeSurplusAttachment(t *testing.T) {
	d := JSON.NewDecoder()
	if _, err := feed(d, `51-["x"]`, []byte{1}); err != nil {
		t.Fatal(err)
	}
	if _, err := feed(d, []byte{2}); !errors.Is(err, ErrMalformed) {
		t.Fatalf("got %v, want ErrMalformed", err)
	}
}

func TestDecodeDeepest(t *testing.T) {
	nested := MaxDepth - 1 // the array of arguments is one level
	text := `2["x",` + strings.Repeat("[", nested) + strings.Repeat("]", nested) + `]`
	if _, err := feed(JSON.NewDecoder(), text); err != nil {
		t.Error(err)
	}
	text = `51-["x",` + strings.Repeat(`{"a":`, nested) + `"\n"` + strings.Repeat("}", nested) + `]`
	if _, err := feed(JSON.NewDecoder(), text, []byte{1}); err != nil {
		t.Error(err)
	}
}

func TestDecodeBorrowsOnly(t *testing.T) {
	d := JSON.NewDecoder()
	text, bin := []byte(`51-/room,["x",{"_placeholder":true,"num":0}]`), []byte("payload")
	if p, err := d.Decode(text, false); p != nil || err != nil {
		t.Fatal(p, err)
	}
	clear(text)
	p, err := d.Decode(bin, true)
	if err != nil {
		t.Fatal(err)
	}
	clear(bin)
	if p.Namespace != "/room" || !bytes.HasPrefix(p.Data, []byte(`["x",{`)) || string(p.Attachments[0]) != "payload" {
		t.Errorf("the packet changed with the buffer: %+v", p)
	}
}

func TestDecodeNamespacesAlternate(t *testing.T) {
	d := JSON.NewDecoder()
	long := "/" + strings.Repeat("n", 10*maxKeptNamespace)
	for _, ns := range []string{"/a", "/b", "/a", long, long, "/a", "/"} {
		p, err := feed(d, `2`+ns+`,["x"]`)
		if err != nil {
			t.Fatal(err)
		}
		if p.Namespace != ns {
			t.Errorf("got %q, want %q", p.Namespace, ns)
		}
	}
	if kept := d.(*jsonDecoder).namespace; len(kept) > maxKeptNamespace {
		t.Errorf("the decoder keeps a name of %d bytes", len(kept))
	}
}

// Regression: the value of each "num" was copied to be parsed as a number, at every depth of it again.
func TestDecodeNestedNumbersAreNotCopied(t *testing.T) {
	nested := MaxDepth - 1
	text := `51-["x",` + strings.Repeat(`{"num":`, nested) + `"` + strings.Repeat("x", 1000) + `"` + strings.Repeat("}", nested) +
		`,{"_placeholder":true,"num":0}]`
	allocs := testing.AllocsPerRun(10, func() {
		if _, err := feed(JSON.NewDecoder(), text, []byte{1}); err != nil {
			t.Error(err)
		}
	})
	if allocs > 50 {
		t.Errorf("%v allocations", allocs)
	}
}
