package console

import (
	"mime"
	"strconv"
	"strings"
)

// prefersHTML tells whether an Accept header is a browser's that wants to show a page: it names text/html, and wants it no
// less than plain text. Ranges such as */*, which tools send, do not count.
func prefersHTML(accept []string) bool {
	html, plain := 0.0, 0.0
	for item := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		media, params, err := mime.ParseMediaType(item)
		if err != nil {
			continue
		}
		quality := 1.0
		if q, ok := params["q"]; ok {
			if quality, err = strconv.ParseFloat(q, 64); err != nil {
				continue
			}
		}
		switch media {
		case "text/html":
			html = max(html, quality)
		case "text/plain":
			plain = max(plain, quality)
		}
	}
	return html > 0 && html >= plain
}
