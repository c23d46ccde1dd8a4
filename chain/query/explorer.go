package query

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc/wire"
)

// explorerFiles are the pages' templates, style and icon.
//
//go:embed explorer
var explorerFiles embed.FS

// Bounds of the explorer.
const (
	// maxPages bounds the pages that are made at once: one may read several
	// blocks of megabytes to show a few of their ops.
	maxPages = 4
	// maxPageWait is how long a page may wait for its turn.
	maxPageWait = 3 * time.Second
	// rowsPerPage is how many rows a list shows: what a person looks through, and
	// under 100 kB of HTML.
	rowsPerPage = 50
)

const (
	// pagePolicy lets a page load its own style and icon, send forms to this
	// server, and nothing else: there is no script to run, not even one that a
	// hostile name would bring.
	pagePolicy = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
	// Live pages are asked for anew, like all that the API says; a block of the
	// past does not change, but a newer version may show it better; what has its
	// hash in its address never changes.
	cacheBlock = "public, max-age=3600"
	cacheFixed = "public, max-age=31536000, immutable"
)

// explorer serves pages for people: what this validator believes about names,
// ops, checkpoints and its peers. They are HTML made here, without scripts, and
// beside each row is the bundle that proves it, because nobody should have to
// believe the page.
type explorer struct {
	*Server
	pages map[string]*template.Template // by file name without its ending
	style string                        // path of the style sheet
	icon  string                        // path of the icon
	room  chan struct{}                 // one for each page that is being made
}

// sheet is what a handler wants shown.
type sheet struct {
	file   string // the template
	title  string
	body   any
	status int    // 200 if 0
	cache  string // "no-store" if empty
}

// frame is what every template gets.
type frame struct {
	Title, File, Chain, Style, Icon string
	Links                           links
	Search                          search
	Body                            any
}

// search is what the form for a handle holds.
type search struct {
	Asked string
	Pin   uint64
}

// newExplorer prepares the pages of a server. It panics if its own templates do
// not parse.
func (s *Server) newExplorer() *explorer {
	x := &explorer{Server: s, pages: map[string]*template.Template{}, room: make(chan struct{}, maxPages)}
	files, err := fs.Sub(explorerFiles, "explorer")
	if err != nil {
		panic("query: " + err.Error())
	}
	for _, name := range []string{"overview", "name", "ops", "block", "account", "checkpoints", "validators", "problem"} {
		x.pages[name] = template.Must(template.ParseFS(files, "frame.html", "rows.html", name+".html"))
	}
	return x
}

// mount adds the explorer's addresses.
func (x *explorer) mount(mux *http.ServeMux) {
	for path, show := range map[string]func(*http.Request, links) (sheet, error){
		"/{$}":                      x.overview,
		"/explorer/{$}":             x.overview,
		"/explorer/names":           x.name,
		"/explorer/ops":             x.ops,
		"/explorer/blocks/{height}": x.block,
		"/explorer/accounts/{id}":   x.account,
		"/explorer/checkpoints":     x.checkpoints,
		"/explorer/validators":      x.validators,
		"/explorer/{nothing...}":    x.nothing,
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet && r.Method != http.MethodHead {
				w.Header().Set("Allow", "GET, HEAD")
				x.write(w, links{firstPin}, problemPage(wire.Errorf(wire.Invalid, "this address is only for reading")), http.StatusMethodNotAllowed)
				return
			}
			x.serve(w, r, show)
		})
	}
	x.style = x.asset(mux, "style.css", "text/css; charset=utf-8")
	x.icon = x.asset(mux, "icon.svg", "image/svg+xml")
}

// asset serves a file of the explorer under an address with its hash and returns
// that address.
func (x *explorer) asset(mux *http.ServeMux, name, kind string) string {
	body, err := explorerFiles.ReadFile("explorer/" + name)
	if err != nil {
		panic("query: " + err.Error())
	}
	hash := sha256.Sum256(body)
	path := "/explorer/" + hex.EncodeToString(hash[:6]) + "/" + name
	mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Cache-Control", cacheFixed)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
	})
	return path
}

// serve answers with a page when its turn has come.
func (x *explorer) serve(w http.ResponseWriter, r *http.Request, show func(*http.Request, links) (sheet, error)) {
	l, err := x.parseLinks(r.URL.Query())
	if err != nil {
		x.write(w, l, problemPage(err), 0)
		return
	}
	turn := time.NewTimer(maxPageWait)
	defer turn.Stop()
	select {
	case x.room <- struct{}{}:
		defer func() { <-x.room }()
	case <-turn.C:
		x.write(w, l, problemPage(wire.Errorf(wire.Exhausted, "too many look at this server at once; try again in a moment")), 0)
		return
	case <-r.Context().Done():
		return
	}
	p, err := show(r, l)
	if err != nil {
		if wire.CodeOf(err) == wire.Internal {
			x.Logger.Error("explorer failed", "path", r.URL.Path, "err", err)
			err = wire.Errorf(wire.Internal, "something is wrong on this server; its log says what")
		}
		p = problemPage(err)
	}
	x.write(w, l, p, 0)
}

// problemPage says what went wrong.
func problemPage(err error) sheet {
	code := wire.CodeOf(err)
	return sheet{file: "problem", title: "There is nothing to show", body: err.Error(), status: code.HTTPStatus()}
}

// write renders a page whole before the first byte goes out, so that an error
// in the middle is not half a page. A status other than 0 replaces the page's.
func (x *explorer) write(w http.ResponseWriter, l links, p sheet, status int) {
	var b bytes.Buffer
	f := frame{Title: p.title, File: p.file, Chain: x.Chain, Style: x.style, Icon: x.icon, Links: l, Search: search{Pin: l.Pin}, Body: p.body}
	if v, ok := p.body.(nameView); ok {
		f.Search.Asked = v.Asked
	}
	if err := x.pages[p.file].ExecuteTemplate(&b, "frame", f); err != nil {
		x.Logger.Error("explorer page", "page", p.file, "err", err)
		status, p.cache = http.StatusInternalServerError, ""
		b.Reset()
		b.WriteString("<!doctype html><title>Error</title><p>Something is wrong on this server; its log says what.")
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	if p.cache != "" {
		h.Set("Cache-Control", p.cache)
	}
	if status == 0 {
		status = max(p.status, http.StatusOK)
	}
	w.WriteHeader(status)
	w.Write(b.Bytes())
}

func (x *explorer) nothing(r *http.Request, _ links) (sheet, error) {
	return sheet{}, wire.Errorf(wire.NotFound, "there is nothing at %.80q", r.URL.Path)
}

// links makes the addresses on a page. They carry along the height of the
// reader's pin, which is where a proof has to begin.
type links struct{ Pin uint64 }

// firstPin is the height of the pin that most readers have: the first block.
const firstPin = 1

// parseLinks reads the reader's pin: a height, or the whole text of a pin. Without
// one, proofs begin at the first block that is here, which on a node that joined by
// a snapshot is not the chain's.
func (x *explorer) parseLinks(q url.Values) (links, error) {
	text := q.Get("pin")
	if text == "" && x.App != nil {
		return links{max(x.App.From(), firstPin)}, nil
	}
	if strings.Contains(text, ":") {
		pin, err := verify.ParsePin(text)
		if err == nil && pin.ChainID != x.Chain {
			err = wire.Errorf(wire.Invalid, "this pin is of the chain %s; the one here is %s", pin.ChainID, x.Chain)
		}
		return links{max(pin.Height, firstPin)}, err
	}
	pin, err := number(text)
	if err != nil {
		return links{firstPin}, fmt.Errorf("pin: %w", err)
	}
	return links{max(pin, firstPin)}, nil
}

// To returns the address of a page with these parameters: name, value, …
func (l links) To(path string, params ...string) string {
	q := url.Values{}
	for i := 0; i+1 < len(params); i += 2 {
		q.Set(params[i], params[i+1])
	}
	if l.Pin > firstPin {
		q.Set("pin", strconv.FormatUint(l.Pin, 10))
	}
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}

// proof is where the proof of a row is.
type proof struct {
	Of   string // what it proves, for who hears the link and does not see the row
	File string // address of the bundle
	JSON string // the same to look into
	Name string // to save it under
}

// proof returns where the proof of something is, by the parameters of
// /v1/bundle that ask for it.
func (l links) proof(of, name string, params ...string) proof {
	q := url.Values{"pin": {strconv.FormatUint(max(l.Pin, firstPin), 10)}}
	for i := 0; i+1 < len(params); i += 2 {
		q.Set(params[i], params[i+1])
	}
	p := proof{Of: of, Name: name + ".bundle", File: "/v1/bundle?" + q.Encode()}
	q.Set("format", "json")
	p.JSON = "/v1/bundle?" + q.Encode()
	return p
}

// head returns where the head of a height is with the way to it from the pin.
func (l links) head(height uint64) proof {
	text := strconv.FormatUint(height, 10)
	if height < l.Pin { // it lies before the pin: the pin proves nothing about it
		return proof{}
	}
	return l.proof("block "+text, "block-"+text, "at", text)
}

// moment is a time as people read it and as machines do.
type moment struct{ Text, ISO string }

// at returns the moment of a header's time in seconds.
func at(seconds uint64) moment {
	if seconds > 1<<37 { // beyond the year 6000: no header has it, a hostile entry may
		return moment{Text: "never"}
	}
	t := time.Unix(int64(seconds), 0).UTC()
	return moment{Text: t.Format("2006-01-02 15:04:05"), ISO: t.Format(time.RFC3339)}
}

// short returns the beginning of a hash, enough to tell two on a page apart.
func short(b []byte) string { return hex.EncodeToString(b[:6]) + "…" }
