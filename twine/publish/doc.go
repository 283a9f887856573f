// Package publish sends messages to a Twine daemon's rooms over its HTTP interface.
//
//	client, err := publish.New(publish.Options{URL: "https://twine.example.com", Key: key})
//	result, err := client.Publish(ctx, publish.Message{Room: "lobby", Event: "news", Data: item})
//
// Each message has an id, one that is generated unless the caller gives one, and is sent again under that id when the
// daemon could not take it or the answer got lost. The daemon delivers one message of an id, so a message that is sent
// again never arrives twice.
//
// [Client.Publish] and [Client.PublishBatch] return when the daemon has answered. A [Publisher] collects messages in the
// background and sends them in batches: much faster, for a stream of many.
//
// The package needs the standard library only.
package publish
