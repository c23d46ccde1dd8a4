package lightclient_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/fakechain"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/lightclient/bundle"
	"github.com/confab-chat/confab/namesvc"
)

// world is a chain on which @alice is served by @harbor.
type world struct {
	*fakechain.Chain
	t             testing.TB
	alice, harbor *fakechain.Actor
}

func newWorld(t testing.TB, s fakechain.Spec) *world {
	t.Helper()
	w := &world{
		t: t, Chain: fakechain.New(s),
		alice: fakechain.NewActor("alice", namesvc.Person), harbor: fakechain.NewActor("harbor", namesvc.Service),
	}
	w.do(w.Register(w.harbor, "harbor", w.harbor.Concierge("https://harbor.example")))
	w.do(w.Register(w.alice, "alice", fakechain.ServedBy(w.harbor)))
	w.Skip(2)
	return w
}

func (w *world) do(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// honest is a source that tells the truth.
func (w *world) honest(name string) *source {
	return &source{Node: fakechain.Node{Chain: w.Chain, Label: name}}
}

// client asks these sources, from the pin of height 1.
func (w *world) client(sources ...lightclient.Source) *lightclient.Client {
	w.t.Helper()
	return w.keeping(nil, sources...)
}

// keeping is client with a store.
func (w *world) keeping(s lightclient.TrustStore, sources ...lightclient.Source) *lightclient.Client {
	w.t.Helper()
	c, err := lightclient.New(lightclient.Config{Pin: w.Pin(1), Sources: sources, Store: s, Now: w.Now})
	w.do(err)
	return c
}

// source is a source that tells the truth but for what a test replaces, and
// counts what it is asked and what it gives out.
type source struct {
	fakechain.Node
	lie    func(ctx context.Context, r lightclient.Request, truth bundle.Bundle) ([]byte, error)
	submit func(ctx context.Context, op []byte) error
	ops    func(ctx context.Context, id namesvc.AccountID, after uint64) ([]lightclient.LoggedOp, bool, error)

	asked, given, offered atomic.Int64
}

func (s *source) Bundle(ctx context.Context, r lightclient.Request) ([]byte, error) {
	s.asked.Add(1)
	if s.lie == nil {
		b, err := s.Node.Bundle(ctx, r)
		s.given.Add(int64(len(b)))
		return b, err
	}
	truth, err := s.Chain.Bundle(r)
	if err != nil {
		return nil, err
	}
	return s.lie(ctx, r, truth)
}

func (s *source) Submit(ctx context.Context, op []byte) error {
	s.offered.Add(1)
	if s.submit != nil {
		return s.submit(ctx, op)
	}
	return s.Node.Submit(ctx, op)
}

func (s *source) Ops(ctx context.Context, id namesvc.AccountID, after uint64) ([]lightclient.LoggedOp, bool, error) {
	if s.ops != nil {
		return s.ops(ctx, id, after)
	}
	return s.Node.Ops(ctx, id, after)
}

// lying returns a source of this name that lies like that.
func (w *world) lying(name string, lie func(ctx context.Context, r lightclient.Request, truth bundle.Bundle) ([]byte, error)) *source {
	s := w.honest(name)
	s.lie = lie
	return s
}

// failing returns a source that answers with an error.
func (w *world) failing(name string, err error) *source {
	return w.lying(name, func(context.Context, lightclient.Request, bundle.Bundle) ([]byte, error) { return nil, err })
}

// silent returns a source that never answers.
func (w *world) silent(name string) *source {
	return w.lying(name, func(ctx context.Context, _ lightclient.Request, _ bundle.Bundle) ([]byte, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
}

// isAlice fails the test unless the answer is the true one about @alice.
func (w *world) isAlice(r *lightclient.Resolution, err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
	s, err := r.Serving(r.Entry.Records.Concierges[0])
	if err != nil || r.Handle != "alice" || r.Entry.Account != w.alice.ID || s.Account != w.harbor.ID {
		w.t.Fatalf("@alice is %+v, served by %+v, %v", r.Meaning, s, err)
	}
}

// within is a context that ends after d, in the test's own time.
func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func ask(c *lightclient.Client, ctx context.Context) (*lightclient.Resolution, error) {
	return c.Resolve(ctx, "alice", 0)
}

// expect fails the test unless got and want print alike.
func expect(t testing.TB, what string, got, want any) {
	t.Helper()
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		t.Errorf("%s: got %s, want %s", what, g, w)
	}
}
