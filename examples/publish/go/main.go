// Command go publishes a message with package publish:  TWINE_URL=… TWINE_API_KEY=… go run ./examples/publish/go ROOM JSON
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/twine-realtime/twine/twine/publish"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: go run ./examples/publish/go ROOM JSON")
	}
	client, err := publish.New(publish.Options{URL: os.Getenv("TWINE_URL"), Key: os.Getenv("TWINE_API_KEY")})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	// It is sent again, under an id of its own, until there is a clear answer.
	result, err := client.Publish(ctx, publish.Message{Room: os.Args[1], Data: json.RawMessage(os.Args[2]), Stamp: true})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("{\"offset\": %q}\n", result.Offset)
}
