package original

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/uuid"
)

func setCookie(t *testing.T, header http.Header) *http.Cookie {
	t.Helper()
	request := httptest.NewRequest("GET", "http://twine.test/set-cookie", nil)
	if header != nil {
		request.Header = header
	}
	recorder := httptest.NewRecorder()
	SetCookie(recorder, request)
	cookies := recorder.Result().Cookies()
	if recorder.Code != http.StatusOK || len(cookies) != 1 {
		t.Fatalf("status %d, cookies %v", recorder.Code, cookies)
	}
	return cookies[0]
}

func TestSetCookieOverHTTP(t *testing.T) {
	cookie := setCookie(t, nil)
	id, err := uuid.Parse(cookie.Value)
	if err != nil || id.Version() != 4 {
		t.Errorf("value %q is no uuid v4", cookie.Value)
	}
	if cookie.Name != "twineid" || cookie.Path != "/" || cookie.MaxAge != 86400 || !cookie.HttpOnly || cookie.Secure ||
		cookie.SameSite != http.SameSiteLaxMode {
		t.Errorf("got %v", cookie)
	}
}

func TestSetCookieBehindHTTPSProxy(t *testing.T) {
	for _, proto := range []string{"https", "HTTPS", "https, http"} {
		cookie := setCookie(t, http.Header{"X-Forwarded-Proto": {proto}})
		if !cookie.Secure || cookie.SameSite != http.SameSiteNoneMode || !cookie.HttpOnly || cookie.MaxAge != 86400 {
			t.Errorf("%s: got %v", proto, cookie)
		}
	}
	if cookie := setCookie(t, http.Header{"X-Forwarded-Proto": {"http, https"}}); cookie.Secure {
		t.Errorf("http to the first proxy: got %v", cookie)
	}
}

func TestSetCookieRenewsAValidOne(t *testing.T) {
	id := uuid.NewString()
	cookie := setCookie(t, http.Header{"Cookie": {"other=1; twineid=bad; twineid=" + id}})
	if cookie.Value != id || cookie.MaxAge != 86400 {
		t.Errorf("got %v, want the value %s", cookie, id)
	}
}

func TestSetCookieReplacesAnInvalidOne(t *testing.T) {
	v1 := "c232ab00-9414-11ec-b3c8-9f6bdeced846"
	for _, value := range []string{"x", v1, "{" + uuid.NewString() + "}", "urn:uuid:" + uuid.NewString()} {
		cookie := setCookie(t, http.Header{"Cookie": {"twineid=" + value}})
		if cookie.Value == value || uuid.Validate(cookie.Value) != nil {
			t.Errorf("%s: got %v", value, cookie)
		}
	}
}
