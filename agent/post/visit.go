package post

import (
	"context"

	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/talk/message"
)

// Visit has do speak with the concierge of a party, wherever that is now: as this
// device if the party is of the own account, as a guest otherwise. It may be
// called again, with another concierge, if the first one fails.
func (p *Post) Visit(ctx context.Context, who message.Party, do func(context.Context, *concierge.Client) error) error {
	return p.with(ctx, who, func(ctx context.Context, l *line) error { return do(ctx, l.client) })
}
