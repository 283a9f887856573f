package parser

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestSplitArgs(t *testing.T) {
	tests := []struct {
		data string
		want []string
		err  error
	}{
		{`[]`, nil, nil},
		{" [ ]\n", nil, nil},
		{`["a",1,{"b":[2,3]},[],null]`, []string{`"a"`, `1`, `{"b":[2,3]}`, `[]`, `null`}, nil},
		{"\t[ \"a\" ,\r-1.5E+3 , true ] ", []string{`"a"`, `-1.5E+3`, `true`}, nil},
		{`["],[","\"\\"]`, []string{`"],["`, `"\"\\"`}, nil},
		{``, nil, errJSON},
		{`{}`, nil, errJSON},
		{`[`, nil, errJSON},
		{`[1`, nil, errJSON},
		{`[1,`, nil, errJSON},
		{`[1,]`, nil, errJSON},
		{`[,1]`, nil, errJSON},
		{`[1 2]`, nil, errJSON},
		{`[1]x`, nil, errJSON},
		{`[]x`, nil, errJSON},
		{`[-]`, nil, errJSON},
		{`[1.]`, nil, errJSON},
		{`[1e]`, nil, errJSON},
		{`[00]`, nil, errJSON},
		{`[.5]`, nil, errJSON},
		{`[nul]`, nil, errJSON},
		{"[\"\xc0\"]", nil, errUTF8},
		{strings.Repeat("[", MaxDepth+1) + strings.Repeat("]", MaxDepth+1), nil, ErrTooDeep},
	}
	for _, tt := range tests {
		args, err := SplitArgs([]byte(tt.data))
		var got []string
		for _, arg := range args {
			got = append(got, string(arg))
		}
		if !errors.Is(err, tt.err) || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%.40s: got %q and %v, want %q and %v", tt.data, got, err, tt.want, tt.err)
		}
	}
}

func TestEventName(t *testing.T) {
	for raw, want := range map[string]string{
		`"chat"`: "chat", ` "a\u0062\n"`: "ab\n", `""`: "", `1`: "1", `1.0`: "1", `-0`: "0", `1e3`: "1000", `0.5`: "0.5",
		`1e21`: "1e+21", `1e-7`: "1e-7", `1e999`: "Infinity", `-1e999`: "-Infinity", `1e-999`: "0",
	} {
		if got, err := EventName([]byte(raw)); err != nil || got != want {
			t.Errorf("%s: got %q and %v, want %q", raw, got, err, want)
		}
	}
	for _, raw := range []string{``, `null`, `true`, `{}`, `[]`, `"x`, `"a"b`, `01`, `1x`, `-`} {
		if got, err := EventName([]byte(raw)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %q and %v, want ErrMalformed", raw, got, err)
		}
	}
}

type nested struct {
	Title string `json:"title"`
	Body  []byte `json:"body"`
}

func TestEncodeArgs(t *testing.T) {
	const p0, p1, p2 = `{"_placeholder":true,"num":0}`, `{"_placeholder":true,"num":1}`, `{"_placeholder":true,"num":2}`
	tests := []struct {
		args        []any
		want        string
		attachments []string
	}{
		{nil, `[]`, nil},
		{[]any{nil, true, 1, int64(-2), uint64(1<<64 - 1), 1.5, float32(0.1), uint8(3)}, `[null,true,1,-2,18446744073709551615,1.5,0.1,3]`, nil},
		{[]any{"<b>&\u2028 \"\\/\b\f\n\r\t\x01\x7f é😀"}, `["<b>&` + "\u2028" + ` \"\\/\b\f\n\r\t\u0001` + "\x7f" + ` é😀"]`, nil},
		{[]any{"\xffa\xc3"}, "[\"\ufffda\ufffd\"]", nil},
		{[]any{struct{ HTML string }{"<&>"}}, `[{"HTML":"<&>"}]`, nil},
		{[]any{[]string{"a"}, map[string]int{"n": 1}, time.Unix(0, 0).UTC()}, `[["a"],{"n":1},"1970-01-01T00:00:00Z"]`, nil},
		{[]any{json.RawMessage(" {\"a\" : 1e400}\n")}, `[{"a" : 1e400}]`, nil},
		{[]any{json.RawMessage(nil), map[string]any(nil), []any(nil), [][]byte(nil)}, `[null,null,null,null]`, nil},
		{[]any{map[string]any{"b": []any{}, "a": map[string]any{}}}, `[{"a":{},"b":[]}]`, nil},
		{[]any{[]byte("x")}, `[` + p0 + `]`, []string{"x"}},
		{[]any{[]byte(nil), []byte{}}, `[` + p0 + `,` + p1 + `]`, []string{"", ""}},
		{[]any{map[string]any{"z": []byte("1"), "a": []any{[]byte("0"), 5}}, [][]byte{[]byte("2")}},
			`[{"a":[` + p0 + `,5],"z":` + p1 + `},[` + p2 + `]]`, []string{"0", "1", "2"}},
		{[]any{nested{"t", []byte("x")}}, `[{"title":"t","body":"eA=="}]`, nil},
		{[]any{json.RawMessage(`{"_placeholder":true,"num":3}`)}, `[{"_placeholder":true,"num":3}]`, nil},
	}
	for _, tt := range tests {
		data, attachments, err := EncodeArgs(tt.args...)
		var got []string
		for _, a := range attachments {
			got = append(got, string(a))
		}
		if err != nil || string(data) != tt.want || !reflect.DeepEqual(got, tt.attachments) {
			t.Errorf("got  %s %q %v\nwant %s %q", data, got, err, tt.want, tt.attachments)
		}
	}
}

type badMarshaler string

func (b badMarshaler) MarshalJSON() ([]byte, error) { return []byte(b), nil }

func TestEncodeArgsRefuses(t *testing.T) {
	loop := map[string]any{}
	loop["self"] = loop
	slice := make([]any, 1)
	slice[0] = slice
	look := json.RawMessage(`{"_placeholder":true,"num":0}`)
	tests := []struct {
		name string
		args []any
		want error
	}{
		{"eleven attachments", []any{make([][]byte, MaxAttachments+1)}, ErrTooManyAttachments},
		{"a map in itself", []any{loop}, ErrTooDeep},
		{"a slice in itself", []any{slice}, ErrTooDeep},
		{"deep raw JSON", []any{json.RawMessage(strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth))}, ErrTooDeep},
		{"deep marshalled JSON", []any{badMarshaler(strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth))}, ErrTooDeep},
		{"invalid raw JSON", []any{json.RawMessage(`{`)}, errJSON},
		{"two raw values", []any{json.RawMessage(`1,2`)}, errJSON},
		{"empty raw JSON", []any{json.RawMessage{}}, errJSON},
		{"raw JSON not in UTF-8", []any{json.RawMessage("\"\xff\"")}, errUTF8},
		{"marshalled JSON not in UTF-8", []any{badMarshaler("\"\xff\"")}, errUTF8},
		{"a false placeholder beside an attachment", []any{[]byte("x"), look}, errPlaceholder},
	}
	for _, tt := range tests {
		if data, _, err := EncodeArgs(tt.args...); !errors.Is(err, tt.want) || !errors.Is(err, ErrMalformed) || data != nil {
			t.Errorf("%s: got %s and %v, want %v", tt.name, data, err, tt.want)
		}
	}
	var unsupported *json.UnsupportedValueError
	if _, _, err := EncodeArgs(1, math.NaN()); !errors.As(err, &unsupported) || !strings.Contains(err.Error(), "argument 1") {
		t.Errorf("NaN: got %v", err)
	}
	if _, _, err := EncodeArgs(make(chan int)); err == nil {
		t.Error("a channel was encoded")
	}
	if data, _, err := EncodeArgs("still", 1); err != nil || string(data) != `["still",1]` {
		t.Errorf("after errors: got %s and %v", data, err)
	}
}

func TestEncodeArgsCopies(t *testing.T) {
	b := []byte("before")
	_, attachments, err := EncodeArgs(b)
	if err != nil {
		t.Fatal(err)
	}
	copy(b, "after!")
	if string(attachments[0]) != "before" {
		t.Errorf("the attachment became %q", attachments[0])
	}
}

func TestEventData(t *testing.T) {
	data, attachments, err := EventData("new\n<message>", 1, []byte("x"))
	if err != nil || string(data) != `["new\n<message>",1,{"_placeholder":true,"num":0}]` || len(attachments) != 1 {
		t.Errorf("got %s, %q and %v", data, attachments, err)
	}
	for _, name := range []string{"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"} {
		if _, _, err := EventData(name); !errors.Is(err, ErrReservedEvent) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestDecodeArg(t *testing.T) {
	attachments := [][]byte{[]byte("zero"), []byte("one")}
	const p0, p1 = `{"_placeholder":true,"num":0}`, `{"num":1.0,"_placeholder":true}`

	var b []byte
	if err := DecodeArg([]byte(` `+p1+` `), attachments, &b); err != nil || string(b) != "one" || &b[0] != &attachments[1][0] {
		t.Errorf("[]byte: got %q and %v, want the attachment itself", b, err)
	}
	var v any
	err := DecodeArg([]byte(`{"a":[`+p0+`,{"_placeholder":false,"num":7}],"b":`+p1+`}`), attachments, &v)
	want := any(map[string]any{
		"a": []any{[]byte("zero"), map[string]any{"_placeholder": false, "num": 7.0}},
		"b": []byte("one"),
	})
	if err != nil || !reflect.DeepEqual(v, want) {
		t.Errorf("any: got %v and %v, want %v", v, err, want)
	}
	if err := DecodeArg([]byte(p0), attachments, &v); err != nil || !reflect.DeepEqual(v, any([]byte("zero"))) {
		t.Errorf("any: got %v and %v", v, err)
	}
	var m map[string]any
	if err := DecodeArg([]byte(`{"a":`+p0+`}`), attachments, &m); err != nil || !reflect.DeepEqual(m["a"], any([]byte("zero"))) {
		t.Errorf("map[string]any: got %v and %v", m, err)
	}
	var s []any
	if err := DecodeArg([]byte(`[1,`+p0+`]`), attachments, &s); err != nil || !reflect.DeepEqual(s, []any{1.0, []byte("zero")}) {
		t.Errorf("[]any: got %v and %v", s, err)
	}
	var list []nested
	if err := DecodeArg([]byte(`[{"title":"\n","body":`+p1+`},{"body":"eA=="}]`), attachments, &list); err != nil ||
		!reflect.DeepEqual(list, []nested{{"\n", []byte("one")}, {"", []byte("x")}}) {
		t.Errorf("struct: got %v and %v", list, err)
	}
	var n int
	if err := DecodeArg([]byte(`5`), attachments, &n); err != nil || n != 5 {
		t.Errorf("int: got %d and %v", n, err)
	}
	if err := DecodeArg([]byte(`{"_placeholder":true,"num":9}`), nil, &m); err != nil || m["num"] != 9.0 {
		t.Errorf("without attachments: got %v and %v", m, err)
	}
}

func TestDecodeArgRefuses(t *testing.T) {
	one := [][]byte{[]byte("x")}
	var v any
	for _, raw := range []string{`{"_placeholder":true,"num":1}`, `{"_placeholder":true}`, `{`, ``, "\"\xff\"",
		`[{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]`} {
		if err := DecodeArg([]byte(raw), one, &v); !errors.Is(err, ErrMalformed) || v != nil {
			t.Errorf("%s: got %v and %v", raw, v, err)
		}
	}
	if err := DecodeArg([]byte(`1`), make([][]byte, MaxAttachments+1), &v); !errors.Is(err, ErrTooManyAttachments) {
		t.Errorf("got %v", err)
	}
	const p0 = `{"_placeholder":true,"num":0}`
	var invalid *json.InvalidUnmarshalError
	for _, target := range []any{nil, v, 5, (*any)(nil), (*[]byte)(nil), (*[]any)(nil), (*map[string]any)(nil)} {
		if err := DecodeArg([]byte(p0), one, target); !errors.As(err, &invalid) {
			t.Errorf("%T: got %v", target, err)
		}
	}
	var mismatch *json.UnmarshalTypeError
	for _, target := range []any{new(int), new(map[string]any), new([]any)} {
		if err := DecodeArg([]byte(p0), one, target); !errors.As(err, &mismatch) {
			t.Errorf("%T: got %v", target, err)
		}
	}
}

func TestEachMember(t *testing.T) {
	for _, object := range []string{`{}`, ` { } `, `{"a":1}`, `{ "a" : [1, {"b":"}"}] , "\"" : null , "" : "x" } `} {
		want := map[string]json.RawMessage{}
		if err := json.Unmarshal([]byte(object), &want); err != nil {
			t.Fatal(err)
		}
		got := map[string]json.RawMessage{}
		if !EachMember([]byte(object), func(name, value []byte) bool {
			var text string
			if err := json.Unmarshal(name, &text); err != nil {
				t.Errorf("%s: name %s: %v", object, name, err)
			}
			got[text] = value
			return true
		}) || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %s", object, got)
		}
	}
	for _, object := range []string{``, ` `, `[]`, `{`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `{"a":1,}`, `{"a":1}}`, `{"a":1}x`, `{a:1}`, `{"a" 1}`,
		`{"a":1 "b":2}`, `{,}`, `{"a":01}`, `{"a":[}`, `{}x`} {
		if EachMember([]byte(object), func(_, _ []byte) bool { return true }) {
			t.Errorf("%s is an object", object)
		}
	}
	if n := 0; EachMember([]byte(`{"a":1,"b":2}`), func(_, _ []byte) bool { n++; return false }) || n != 1 {
		t.Errorf("called %d times", n)
	}
}
