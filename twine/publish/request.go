package publish

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	// maxRequestMessages and maxRequestBytes are what the daemon takes at once.
	maxRequestMessages = 1000
	maxRequestBytes    = 1_000_000
	// maxAnswerBytes is several times what a daemon answers to a full batch of which nothing was taken.
	maxAnswerBytes = 4 << 20
	maxDetailBytes = 300

	batchStart, batchEnd = `{"messages":[`, `]}`
)

// fitting returns how many of the messages fit one request: one at least, however large it is.
func fitting(messages []encoded) int {
	size := len(batchStart) + len(batchEnd)
	for n := range messages {
		size += len(messages[n].body) + len(",")
		if n > 0 && (n == maxRequestMessages || size > maxRequestBytes) {
			return n
		}
	}
	return len(messages)
}

// requestBody is that of a single message, or of a batch.
func requestBody(messages []encoded) []byte {
	if len(messages) == 1 {
		return messages[0].body
	}
	body := bytes.NewBufferString(batchStart)
	for i := range messages {
		if i > 0 {
			body.WriteByte(',')
		}
		body.Write(messages[i].body)
	}
	body.WriteString(batchEnd)
	return body.Bytes()
}

// answer is what the daemon says of one message.
type answer struct {
	Offset    string `json:"offset"`
	Duplicate bool   `json:"duplicate"`
	Error     string `json:"error"`
	Status    int    `json:"status"`
}

// document is any answer: a result, those of a batch, or a problem with or without results.
type document struct {
	answer
	Type    string   `json:"type"`
	Title   string   `json:"title"`
	Detail  string   `json:"detail"`
	Results []answer `json:"results"`
}

// attempt sends messages once. It returns an answer for each, or the error that is about all of them. refusal is not nil
// beside answers if the request as a whole was refused.
func (c *Client) attempt(ctx context.Context, messages []encoded) (answers []answer, refusal *Error, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.endpoint, bytes.NewReader(requestBody(messages)))
	if err != nil {
		return nil, nil, fmt.Errorf("publish: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+c.key)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json, application/problem+json")
	response, err := c.http.Do(request)
	if err != nil {
		return nil, nil, fmt.Errorf("publish: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	if err != nil {
		return nil, nil, fmt.Errorf("publish: the answer was cut off: %w", err)
	}
	var doc document
	isJSON := strings.HasSuffix(mediaType(response.Header), "json") && json.Unmarshal(body, &doc) == nil
	if response.StatusCode != http.StatusCreated {
		refusal = refusalOf(response, isJSON, &doc, body)
		if len(messages) > 1 && len(doc.Results) == len(messages) {
			return doc.Results, refusal, nil
		}
		return nil, nil, refusal
	}
	if len(messages) == 1 {
		doc.Results = []answer{doc.answer}
	}
	if !isJSON || len(doc.Results) != len(messages) || slices.ContainsFunc(doc.Results, func(a answer) bool { return a.Offset == "" }) {
		return nil, nil, &Error{Status: response.StatusCode, Detail: "but not as Twine does; is " + c.endpoint + " the right address?"}
	}
	return doc.Results, nil, nil
}

func refusalOf(response *http.Response, isJSON bool, doc *document, body []byte) *Error {
	refusal := &Error{Status: response.StatusCode, RetryAfter: retryAfter(response.Header)}
	location := response.Header.Get("Location")
	switch {
	case isJSON:
		refusal.Type, refusal.Title, refusal.Detail = doc.Type, doc.Title, doc.Detail
	case location != "" && response.StatusCode/100 == 3:
		refusal.Detail = "redirects are not followed; it points to " + location
	case mediaType(response.Header) == "text/plain" && utf8.Valid(body):
		refusal.Detail = strings.TrimSpace(string(body))
	}
	if len(refusal.Detail) > maxDetailBytes {
		refusal.Detail = strings.ToValidUTF8(refusal.Detail[:maxDetailBytes], "") + "…"
	}
	return refusal
}

func mediaType(h http.Header) string {
	t, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	return t
}
