package repeat

import (
	"context"
	"errors"
	"math"
	"testing"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/memory"
)

func TestCheck(t *testing.T) {
	log := memory.NewLog(memory.LogOptions{})
	defer log.Close()
	start, err := log.Start(t.Context(), "/")
	if err != nil {
		t.Fatal(err)
	}
	// Each is the last or the first of its millisecond.
	at := recovery.Offset{MS: start.MS + 1}
	next := at.Next()
	entries := []recovery.Entry{
		{Offset: at, Rooms: []string{"a", "b"}, Except: []string{"x"}, Data: []byte(`["e",{"n":1,"t":"é"}]`), ID: "1"},
		{Offset: next, Rooms: []string{"a"}, Data: []byte(`["e",2]`), ID: "2"},
	}
	if err := log.Append(t.Context(), "/", entries); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		at   recovery.Offset
		m    Message
		want error
	}{
		"the same":                {at, Message{[]string{"a", "b"}, []string{"x"}, []byte(`["e",{"n":1,"t":"é"}]`)}, nil},
		"written differently":     {at, Message{[]string{"b", "a", "b"}, []string{"x", "x"}, []byte(`[ "e", {"t":"\u00e9", "n":1} ]`)}, nil},
		"the same, second":        {next, Message{[]string{"a"}, nil, []byte(`["e",2]`)}, nil},
		"another payload":         {at, Message{[]string{"a", "b"}, []string{"x"}, []byte(`["e",{"n":2,"t":"é"}]`)}, ErrOther},
		"another number":          {next, Message{[]string{"a"}, nil, []byte(`["e",2.0]`)}, ErrOther},
		"another event":           {next, Message{[]string{"a"}, nil, []byte(`["f",2]`)}, ErrOther},
		"another room":            {next, Message{[]string{"c"}, nil, []byte(`["e",2]`)}, ErrOther},
		"one room more":           {next, Message{[]string{"a", "b"}, nil, []byte(`["e",2]`)}, ErrOther},
		"one room less":           {at, Message{[]string{"a"}, []string{"x"}, []byte(`["e",{"n":1,"t":"é"}]`)}, ErrOther},
		"no exception":            {at, Message{[]string{"a", "b"}, nil, []byte(`["e",{"n":1,"t":"é"}]`)}, ErrOther},
		"out of history":          {recovery.Offset{MS: 5}, Message{[]string{"a"}, nil, []byte(`["e",2]`)}, nil},
		"not there, in its place": {recovery.Offset{MS: at.MS, Seq: 0}, Message{[]string{"q"}, nil, nil}, ErrOther},
	} {
		if err := Check(t.Context(), log, "/", test.at, test.m, nil); !errors.Is(err, test.want) {
			t.Errorf("%s: got %v, want %v", name, err, test.want)
		}
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Check(cancelled, log, "/", at, Message{}, nil); err == nil || errors.Is(err, ErrOther) {
		t.Errorf("history out of reach: got %v", err)
	}
}

func TestBefore(t *testing.T) {
	for _, o := range []recovery.Offset{{MS: 7}, {MS: 7, Seq: 1}, {MS: 7, Seq: math.MaxUint64}} {
		if b := before(o); b.Next() != o {
			t.Errorf("before %v is %v", o, b)
		}
	}
}
