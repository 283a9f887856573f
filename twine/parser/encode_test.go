package parser

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestEncode(t *testing.T) {
	tests := []struct {
		packet Packet
		want   string
	}{
		{Packet{}, `0`},
		{Packet{Type: Connect, Namespace: "/woot", Data: []byte(`{"token":"123"}`)}, `0/woot,{"token":"123"}`},
		{Packet{Type: Disconnect, Namespace: "/woot"}, `1/woot,`},
		{Packet{Type: Event, Namespace: "/", Data: []byte(`["a",1,{}]`)}, `2["a",1,{}]`},
		{Packet{Type: Event, ID: 1, HasID: true, Namespace: "/test", Data: []byte(`["a"]`)}, `2/test,1["a"]`},
		{Packet{Type: Event, HasID: true, Data: []byte(`[1]`)}, `20[1]`},
		{Packet{Type: Event, ID: 9, Data: []byte(`[1]`)}, `2[1]`},
		{Packet{Type: Ack, ID: 1<<64 - 1, HasID: true, Data: []byte(`[]`)}, `318446744073709551615[]`},
		{Packet{Type: ConnectError, Data: []byte(`"Unauthorized"`)}, `4"Unauthorized"`},
		{Packet{Type: ConnectError, Namespace: "/a?b=c", Data: []byte(`{"message":"no"}`)}, `4/a?b=c,{"message":"no"}`},
	}
	for _, tt := range tests {
		parts, err := JSON.Encode(&tt.packet)
		if err != nil {
			t.Errorf("%+v: %v", tt.packet, err)
			continue
		}
		if len(parts) != 1 || parts[0].Binary || string(parts[0].Data) != tt.want {
			t.Errorf("got %v, want %q", parts, tt.want)
		}
		buf, err := AppendText([]byte("head"), &tt.packet)
		if err != nil || string(buf) != "head"+tt.want {
			t.Errorf("got %q and %v, want head%s", buf, err, tt.want)
		}
	}
}

func TestEncodeBinary(t *testing.T) {
	p := &Packet{
		Type: Ack, Namespace: "/a", ID: 5, HasID: true,
		Data:        []byte(`[{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]`),
		Attachments: [][]byte{{1}, {}},
	}
	want := []Part{{Data: []byte(`62-/a,5` + string(p.Data))}, {[]byte{1}, true}, {[]byte{}, true}}
	parts, err := JSON.Encode(p)
	if err != nil || !reflect.DeepEqual(parts, want) {
		t.Errorf("got %v and %v, want %v", parts, err, want)
	}
}

func TestEncodeRefuses(t *testing.T) {
	event := []byte(`["x"]`)
	look := []byte(`["x",{"_placeholder":true,"num":1}]`)
	tests := []struct {
		packet Packet
		want   error
	}{
		{Packet{Type: 5, Data: event}, errType},
		{Packet{Type: 255}, errType},
		{Packet{Type: Event}, errPayload},
		{Packet{Type: Event, Data: []byte(`{}`)}, errPayload},
		{Packet{Type: Ack, HasID: true}, errPayload},
		{Packet{Type: Ack, Data: []byte(`[]`)}, errAckID},
		{Packet{Type: Disconnect, Data: []byte(`{}`)}, errPayload},
		{Packet{Type: Connect, Data: []byte(`[]`)}, errPayload},
		{Packet{Type: ConnectError}, errPayload},
		{Packet{Type: Event, Namespace: "/a,b", Data: event}, errNamespace},
		{Packet{Type: Event, Namespace: "admin", Data: event}, errNamespace},
		{Packet{Type: Event, Namespace: "/\xff", Data: event}, errUTF8},
		{Packet{Type: Event, Data: event, Attachments: make([][]byte, MaxAttachments+1)}, ErrTooManyAttachments},
		{Packet{Type: Connect, Attachments: make([][]byte, 1)}, errAttachmentType},
		{Packet{Type: Event, Data: look, Attachments: make([][]byte, 1)}, errPlaceholder},
		{Packet{Type: Event, Data: []byte(`["x"`), Attachments: make([][]byte, 1)}, errJSON},
	}
	for _, tt := range tests {
		if parts, err := JSON.Encode(&tt.packet); !errors.Is(err, tt.want) || !errors.Is(err, ErrMalformed) || parts != nil {
			t.Errorf("%+v: got %v and %v, want %v", tt.packet, parts, err, tt.want)
		}
		if buf, err := AppendText([]byte("head"), &tt.packet); string(buf) != "head" || err == nil {
			t.Errorf("%+v: got %q and %v", tt.packet, buf, err)
		}
	}
}

func TestAppendArg(t *testing.T) {
	tests := []struct{ data, arg, want string }{
		{`[]`, `"1-0"`, `["1-0"]`},
		{`[ ]`, `1`, `[1]`},
		{`["x"]`, `"1-0"`, `["x","1-0"]`},
		{" [\"x\", [] \n] ", `{}`, `["x", [],{}]`},
		{``, `1`, ``},
		{`{}`, `1`, ``},
		{`[`, `1`, ``},
		{`["x"`, `1`, ``},
	}
	for _, tt := range tests {
		data := []byte(tt.data)
		got := AppendArg(data[:len(data):len(data)], []byte(tt.arg))
		if string(got) != tt.want {
			t.Errorf("%s and %s: got %s, want %s", tt.data, tt.arg, got, tt.want)
		}
		clear(data)
		if string(got) != tt.want {
			t.Errorf("%s: the result shares the memory of its argument", tt.data)
		}
	}
}

func TestTypeString(t *testing.T) {
	for want, typ := range map[string]Type{
		"CONNECT": Connect, "DISCONNECT": Disconnect, "EVENT": Event, "ACK": Ack, "CONNECT_ERROR": ConnectError, "Type(9)": 9,
	} {
		if got := typ.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if !strings.Contains(ErrTooManyAttachments.Error(), "10") {
		t.Error("the error does not tell the limit")
	}
}
