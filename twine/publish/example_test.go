package publish_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/twine-realtime/twine/twine/publish"
)

// A daemon for the examples.
func exampleDaemon() *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, `{"offset":"1767225600000-0"}`)
	}))
}

func Example() {
	daemon := exampleDaemon()
	defer daemon.Close()

	client, err := publish.New(publish.Options{URL: daemon.URL, Key: "key"})
	if err != nil {
		log.Fatal(err)
	}
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	result, err := client.Publish(ctx, publish.Message{Room: "lobby", Event: "news", Data: map[string]string{"text": "hello"}})
	var gaveUp *publish.GaveUpError
	switch {
	case errors.As(err, &gaveUp):
		log.Fatalf("publish it again, with the ID %s: %v", gaveUp.ID, err)
	case err != nil:
		log.Fatal(err)
	}
	fmt.Println(result.Offset)
	// Output: 1767225600000-0
}

// A stream of messages is sent in batches, in the background.
func ExamplePublisher() {
	daemon := exampleDaemon()
	defer daemon.Close()

	client, err := publish.New(publish.Options{URL: daemon.URL, Key: "key"})
	if err != nil {
		log.Fatal(err)
	}
	defer client.CloseIdleConnections()
	publisher := publish.NewPublisher(client, publish.PublisherOptions{Done: func(o publish.Outcome) {
		if o.Err != nil {
			log.Println("lost:", o.Message, o.Err)
			return
		}
		fmt.Println("published", o.Message.Data)
	}})
	ctx := context.Background()
	if err := publisher.Send(ctx, publish.Message{Room: "orders", Event: "order", Data: 17}); err != nil {
		log.Fatal(err)
	}
	if err := publisher.Close(ctx); err != nil {
		log.Fatal(err)
	}
	// Output: published 17
}
