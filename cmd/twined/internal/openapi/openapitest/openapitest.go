// Package openapitest checks requests and answers against the OpenAPI document, for tests.
package openapitest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"github.com/twine-realtime/twine/cmd/twined/internal/openapi"
)

// Document is the OpenAPI document, ready to check against. Its methods may be called concurrently.
type Document struct {
	spec *openapi3.T
	mux  *http.ServeMux
}

// statusFound tells a route that was found from the mux's redirects and refusals.
const statusFound = 299

// Load reads and checks the document itself.
func Load() (*Document, error) {
	spec, err := openapi3.NewLoader().LoadFromData(openapi.Document())
	if err != nil {
		return nil, err
	}
	if err := spec.Validate(context.Background()); err != nil {
		return nil, err
	}
	// To clients the answers are open: they may get more members one day. Here a member that is not in the document is an error.
	no := false
	for _, schema := range spec.Components.Schemas {
		if schema.Value.Type.Is("object") {
			schema.Value.AdditionalProperties = openapi3.AdditionalProperties{Has: &no}
		}
	}
	d := &Document{spec: spec, mux: http.NewServeMux()}
	// The paths' templates are patterns of the mux too, which takes percent-encoded segments apart as the daemon does.
	for _, route := range d.Routes() {
		d.mux.HandleFunc(route, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(statusFound) })
	}
	return d, nil
}

// Routes returns all operations in the form of a mux's patterns, such as "GET /v1/rooms/{room}", sorted.
func (d *Document) Routes() []string {
	var routes []string
	for path, item := range d.spec.Paths.Map() {
		for method := range item.Operations() {
			routes = append(routes, method+" "+path)
		}
	}
	slices.Sort(routes)
	return routes
}

// Check checks an exchange that the document has an operation for; documented is false for others. An answer that is no error
// means that the request is as the document wants it too. The request's own body may have been read already.
func (d *Document) Check(r *http.Request, requestBody []byte, status int, header http.Header, body []byte) (documented bool, err error) {
	asked := httptest.NewRequest(r.Method, r.URL.String(), bytes.NewReader(requestBody))
	asked.Header = maps.Clone(r.Header)
	if asked.Header.Get("Content-Type") == "" {
		asked.Header.Set("Content-Type", "application/json") // which the daemon takes it for
	}
	// The mux takes the segment "%2F" for the end of the path, unless it is encoded once more.
	asked.URL.Path, asked.URL.RawPath = asked.URL.EscapedPath(), ""
	found := httptest.NewRecorder()
	d.mux.ServeHTTP(found, asked) // which also sets the path's values
	if found.Code != statusFound || !slices.Contains(d.Routes(), asked.Pattern) {
		return false, nil // HEAD, for one, finds the pattern of GET
	}
	method, path, _ := strings.Cut(asked.Pattern, " ")
	item := d.spec.Paths.Value(path)
	operation := item.GetOperation(method)
	values := map[string]string{}
	for _, parameter := range slices.Concat(item.Parameters, operation.Parameters) {
		if parameter.Value.In == "path" {
			if values[parameter.Value.Name], err = url.PathUnescape(asked.PathValue(parameter.Value.Name)); err != nil {
				return true, err
			}
		}
	}
	input := &openapi3filter.RequestValidationInput{
		Request: asked, PathParams: values, QueryParams: asked.URL.Query(),
		Route:   &routers.Route{Spec: d.spec, Path: path, PathItem: item, Method: method, Operation: operation},
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true},
	}
	if status < 400 {
		if err := openapi3filter.ValidateRequest(r.Context(), input); err != nil {
			return true, fmt.Errorf("the request was carried out, but the document refuses it: %w", err)
		}
		if err := onlyKnownParameters(asked, operation); err != nil {
			return true, err
		}
	}
	err = openapi3filter.ValidateResponse(r.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: status, Header: header, Body: io.NopCloser(bytes.NewReader(body)), Options: input.Options,
	})
	if err != nil {
		return true, fmt.Errorf("the answer is not as the document says: %w", err)
	}
	return true, nil
}

func onlyKnownParameters(r *http.Request, operation *openapi3.Operation) error {
	for name := range r.URL.Query() {
		if operation.Parameters.GetByInAndName("query", name) == nil {
			return fmt.Errorf("the request was carried out, but the document has no parameter %q", name)
		}
	}
	return nil
}

// CheckProblem checks that a body is a problem document.
func (d *Document) CheckProblem(body []byte) error {
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		return err
	}
	return d.spec.Components.Schemas["Problem"].Value.VisitJSON(v, openapi3.EnableJSONSchema2020())
}
