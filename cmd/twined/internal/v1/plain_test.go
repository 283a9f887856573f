package v1

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
	"unicode/utf8"
)

func decodeBatch(body []byte) ([]Message, error) {
	var in struct {
		Messages []Message `json:"messages"`
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(&in)
	return in.Messages, err
}

// FuzzPlainBatch: what is read the short way is what package json reads.
func FuzzPlainBatch(f *testing.F) {
	for _, seed := range []string{
		`{"messages":[{"room":"r","event":"e","data":{"a":[1,"x"]},"id":"k"},{"room":"é","data":null}]}`,
		`{"messages": [ { "room" : "r" , "data" : 1 } ] } `, `{"messages":[{}]}`, `{"messages":[{"room":"a","room":"b"}]}`,
		`{"messages":[{"Room":"a"}]}`, `{"messages":[{"room":"\u0061"}]}`, `{"messages":[{"room":null}]}`, `{"messages":[{"room":1}]}`,
		`{"messages":[]}`, `{"messages":[{"room":"a"}]}}`, `{"messages":[{"room":"a"}],"messages":[{"room":"b"}]}`,
		`{"messages":[{"room":"a"},]}`, `{"messages":[{"data":{"x":1]}]}`, `{"messages":[{"room":"a","rooms":["b"]}]}`, `{"messages":{}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if !utf8.Valid(body) {
			return
		}
		plain, ok := plainBatch(body)
		if !ok {
			return
		}
		read, err := decodeBatch(body)
		if err != nil || !reflect.DeepEqual(plain, read) {
			t.Errorf("%s is %+v, package json says %+v, %v", body, plain, read, err)
		}
	})
}

// batch is what clients send: with and without spaces.
func batch(n int, separator string) []byte {
	b := []byte(`{"messages":` + separator + `[`)
	for i := range n {
		if i > 0 {
			b = append(b, ","+separator...)
		}
		b = fmt.Appendf(b, `{"room":%s"room-%d",%[1]s"event":%[1]s"message",%[1]s"data":%[1]s{"text":"one hundred bytes or so of a message","n":%[2]d}}`, separator, i)
	}
	return append(b, "]}\n"...)
}

func TestCommonBatchesArePlain(t *testing.T) {
	for _, separator := range []string{"", " "} {
		body := batch(10, separator)
		plain, ok := plainBatch(body)
		if !ok {
			t.Fatalf("%s is not", body)
		}
		read, err := decodeBatch(body)
		if err != nil || !reflect.DeepEqual(plain, read) {
			t.Errorf("%+v, package json says %+v, %v", plain, read, err)
		}
	}
}

func BenchmarkBatch(b *testing.B) {
	body := batch(200, "")
	b.Run("plain", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, ok := plainBatch(body); !ok {
				b.Fatal("not plain")
			}
		}
	})
	b.Run("json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := decodeBatch(body); err != nil {
				b.Fatal(err)
			}
		}
	})
}
