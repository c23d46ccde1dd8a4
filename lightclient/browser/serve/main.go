//go:build !js

// Command serve builds the browser example and serves it on this machine:
//
//	go run ./lightclient/browser/serve
//
// With -out it only builds, into a folder that any web server can hand out.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/confab-chat/confab/lightclient/browser/site"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:7790", "serve at `HOST:PORT`")
	out := flag.String("out", "", "build into `FOLDER` and do not serve")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *listen, *out, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "serve:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, listen, out string, rest []string) error {
	if len(rest) > 0 {
		return fmt.Errorf("%q is not understood; see serve -help", rest[0])
	}
	dir := out
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "confab-browser-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	}
	fmt.Fprintln(os.Stderr, "building the light client …")
	sizes, err := site.Build(ctx, dir)
	if err != nil {
		return err
	}
	fmt.Printf("light client  %d bytes, %d compressed\n", sizes.Wasm, sizes.Gzip)
	if out != "" {
		fmt.Printf("folder        %s\n", dir)
		return nil
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return fmt.Errorf("%w; choose another address with -listen", err)
	}
	fmt.Printf("page          http://%s\n", l.Addr())
	server := &http.Server{Handler: site.Handler(dir), ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { server.Close() })
	if err := server.Serve(l); err != http.ErrServerClosed {
		return err
	}
	return nil
}
