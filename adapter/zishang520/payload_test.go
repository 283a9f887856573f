package zishang520

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/zishang520/engine.io/v2/types"
	"github.com/zishang520/socket.io/v2/socket"

	"github.com/twine-realtime/twine/twine/parser"
)

func TestEncode(t *testing.T) {
	for _, test := range []struct {
		args        []any
		data        string
		attachments []string
	}{
		{nil, `[]`, nil},
		{[]any{"e", 1, nil, true, 1.5, "é"}, `["e",1,null,true,1.5,"é"]`, nil},
		{[]any{"connect"}, `["connect"]`, nil},
		{[]any{types.NewSet("room"), struct {
			A int `json:"a"`
		}{1}}, `[["room"],{"a":1}]`, nil},
		{[]any{strings.NewReader("text"), types.NewStringBufferString("more")}, `["text","more"]`, nil},
		{[]any{[]byte("a"), map[string]any{"b": []any{types.NewBytesBufferString("b"), strings.NewReader("t")}}},
			`[{"_placeholder":true,"num":0},{"b":[{"_placeholder":true,"num":1},"t"]}]`, []string{"a", "b"}},
	} {
		data, attachments, err := encode(test.args)
		var got []string
		for _, a := range attachments {
			got = append(got, string(a))
		}
		if err != nil || string(data) != test.data || !reflect.DeepEqual(got, test.attachments) {
			t.Errorf("%v: %s, %q, %v", test.args, data, got, err)
		}
	}
	if _, _, err := encode([]any{"e", make(chan int)}); err == nil || !strings.Contains(err.Error(), "chan int") {
		t.Errorf("a channel: %v", err)
	}
	many := make([]any, 11)
	for i := range many {
		many[i] = []byte{1}
	}
	if _, _, err := encode(many); !errors.Is(err, parser.ErrTooManyAttachments) {
		t.Errorf("too many binary values: %v", err)
	}
}

func TestDecode(t *testing.T) {
	data := `["e",1,null,{"a":[{"_placeholder":true,"num":1}]},{"_placeholder":true,"num":0}]`
	attachments := [][]byte{[]byte("a"), []byte("b")}
	args, err := decode([]byte(data), attachments)
	if err != nil || len(args) != 5 || args[0] != "e" || args[1] != 1.0 || args[2] != nil {
		t.Fatalf("%v, %v", args, err)
	}
	for i, v := range []any{args[4], args[3].(map[string]any)["a"].([]any)[0]} {
		buffer, ok := v.(*types.BytesBuffer)
		if !ok {
			t.Fatalf("a binary value is a %T", v)
		}
		if got := string(buffer.Next(1)); got != string(attachments[i]) {
			t.Errorf("got %q", got)
		}
	}
	// Another receiver of the same packet is not disturbed.
	again, attached, err := encode(args[:4])
	if err != nil || string(again) != `["e",1,null,{"a":[{"_placeholder":true,"num":0}]}]` || string(attachments[1]) != "b" {
		t.Errorf("%s, %q, %v", again, attached, err)
	}
	if args, err := decode(nil, nil); err != nil || args == nil || len(args) != 0 {
		t.Errorf("nothing: %v, %v", args, err)
	}
	for _, malformed := range []string{`{}`, `[`, `[{"_placeholder":true,"num":7}]`} {
		if _, err := decode([]byte(malformed), attachments); err == nil {
			t.Errorf("%s was decoded", malformed)
		}
	}
}

func TestHandshake(t *testing.T) {
	h := &socket.Handshake{Headers: map[string][]string{"X-A": {"1", "2"}, "Cookie": {"a=1", "b=2"}}, Time: "now", Address: "::1", Xdomain: true,
		Secure: true, Issued: 7, Url: "/x?y=1", Query: map[string][]string{"y": {"0", "1"}, "z": {}}, Auth: map[string]any{"token": "t"}}
	packed := packHandshake(h)
	want := `{"headers":{"cookie":"a=1; b=2","x-a":"1, 2"},"time":"now","address":"::1","xdomain":true,"secure":true,"issued":7,` +
		`"url":"/x?y=1","query":{"y":"1"},"auth":{"token":"t"}}`
	if string(packed) != want {
		t.Errorf("packed %s", packed)
	}
	got, err := unpackHandshake(packed)
	if err != nil || fmt.Sprint(*got) != `{map[Cookie:[a=1; b=2] X-A:[1, 2]] now ::1 true true 7 /x?y=1 map[y:[1]] map[token:t]}` {
		t.Errorf("unpacked %v, %v", got, err)
	}
	// As Node has it.
	got, err = unpackHandshake([]byte(`{"headers":{"set-cookie":["a","b"]},"query":{"q":["1","2"],"n":3}}`))
	if err != nil || fmt.Sprint(got.Headers, got.Query) != `map[Set-Cookie:[a b]] map[n:[] q:[1 2]]` {
		t.Errorf("unpacked %v, %v", got, err)
	}
	if _, err := unpackHandshake([]byte(`[]`)); err == nil {
		t.Error("an array was unpacked")
	}
	if got := packHandshake(&socket.Handshake{Auth: make(chan int)}); string(got) != "{}" {
		t.Errorf("packed %s", got)
	}
}

func TestQueue(t *testing.T) {
	var q queue
	begun, hold, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var got []int
	q.put(func() { close(begun); <-hold })
	<-begun // so it does not wait in the queue itself
	if q.idle() {
		t.Error("idle at work")
	}
	n := 0
	for q.put(func() { got = append(got, len(got)) }) {
		if n++; n > 2*queueLimit {
			t.Fatal("no limit")
		}
	}
	if n < queueLimit {
		t.Errorf("full after %d", n)
	}
	close(hold)
	for !q.put(func() { close(done) }) {
		// until there is room
	}
	<-done
	for i := range got {
		if got[i] != i {
			t.Fatalf("number %d is %d", i, got[i])
		}
	}
	q.close()
	if q.put(func() { t.Error("ran after the end") }) {
		t.Error("taken after the end")
	}
}
