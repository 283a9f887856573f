package parser_test

import (
	"errors"
	"fmt"

	"github.com/twine-realtime/twine/twine/parser"
)

func ExampleCodec() {
	data, attachments, err := parser.EventData("upload", "cat.png", []byte{1, 2, 3})
	if err != nil {
		panic(err)
	}
	parts, err := parser.JSON.Encode(&parser.Packet{
		Type: parser.Event, Namespace: "/files", ID: 7, HasID: true, Data: data, Attachments: attachments,
	})
	if err != nil {
		panic(err)
	}
	for _, part := range parts {
		if part.Binary {
			fmt.Println("binary:", part.Data)
		} else {
			fmt.Printf("text:   %s\n", part.Data)
		}
	}
	// Output:
	// text:   51-/files,7["upload","cat.png",{"_placeholder":true,"num":0}]
	// binary: [1 2 3]
}

func ExampleDecoder() {
	decoder := parser.JSON.NewDecoder() // one for each connection
	p, err := decoder.Decode([]byte(`2/chat,12["message",{"text":"hello"}]`), false)
	if err != nil {
		panic(err) // close the connection
	}
	args, err := parser.SplitArgs(p.Data)
	if err != nil {
		panic(err)
	}
	name, err := parser.EventName(args[0])
	if err != nil {
		panic(err)
	}
	var message struct{ Text string }
	if err := parser.DecodeArg(args[1], p.Attachments, &message); err != nil {
		panic(err)
	}
	fmt.Println(p.Type, p.Namespace, p.ID, name, message.Text)

	_, err = decoder.Decode([]byte(`2["disconnect"]`), false)
	fmt.Println(errors.Is(err, parser.ErrMalformed), errors.Is(err, parser.ErrReservedEvent))
	// Output:
	// EVENT /chat 12 message hello
	// true true
}

func ExampleAppendArg() {
	data, _, err := parser.EventData("news", "hello")
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s\n", parser.AppendArg(data, []byte(`"1700000000000-0"`)))
	// Output: ["news","hello","1700000000000-0"]
}
