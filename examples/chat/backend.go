package main

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"time"
)

//go:embed page
var files embed.FS

// backend is what an application adds to Twine: it serves the page, decides what may be said, and publishes it.
type backend struct {
	twined, key string
	client      *http.Client
}

func newBackend(twined, key string) http.Handler {
	b := &backend{twined: twined, key: key, client: &http.Client{Timeout: 10 * time.Second}}
	page := template.Must(template.ParseFS(files, "page/index.html"))
	assets, err := fs.Sub(files, "page")
	if err != nil {
		panic(err) // the folder is embedded above
	}
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServerFS(assets))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		page.Execute(w, twined)
	})
	mux.HandleFunc("POST /say", b.say)
	return mux
}

// line is one thing that someone says.
type line struct {
	Room string `json:"room"`
	Name string `json:"name"`
	Text string `json:"text"`
}

func (b *backend) say(w http.ResponseWriter, r *http.Request) {
	var said line
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 10_000)).Decode(&said); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if said.Room == "" || said.Name == "" || said.Text == "" {
		http.Error(w, "room, name and text must not be empty", http.StatusBadRequest)
		return
	}
	if err := b.publish(r, said); err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (b *backend) publish(r *http.Request, said line) error {
	body, err := json.Marshal(map[string]any{
		"room_id": said.Room,
		"payload": map[string]string{"name": said.Name, "text": said.Text},
	})
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(r.Context(), "POST", b.twined+"/api/twine", bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", b.key)
	request.Header.Set("Content-Type", "application/json")
	response, err := b.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusCreated {
		return fmt.Errorf("twined answered %s", response.Status)
	}
	return nil
}
