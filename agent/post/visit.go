package post

import (
	"context"
	"sync"
	"time"

	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/talk/message"
)

// Visit has do speak with the concierge of a party, wherever that is now: as this
// device if the party is of the own account, as a guest otherwise. It may be
// called again, with another concierge, if the first one fails. It may take as long
// as it likes, such as for large files, while the concierge shows now and then that
// it answers; otherwise the connection is closed, which ends requests on it. Files
// travel on connections of their own, which end when nothing comes.
func (p *Post) Visit(ctx context.Context, who message.Party, do func(context.Context, *concierge.Client) error) error {
	return p.with(ctx, who, func(ctx context.Context, l *line) error {
		var watching sync.WaitGroup
		defer watching.Wait()
		watched, cancel := context.WithCancel(ctx)
		defer cancel()
		watching.Go(func() { p.watch(watched, l) })
		err := do(ctx, l.client)
		if err != nil && l.silent.Load() {
			return errSilent
		}
		return err
	})
}

// watch has a line show that it answers until ctx ends.
func (p *Post) watch(ctx context.Context, l *line) {
	tick := time.NewTicker(p.times.probe)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			l.describes(ctx, p.times.answer)
		case <-l.client.Done():
			return
		case <-ctx.Done():
			return
		}
	}
}
