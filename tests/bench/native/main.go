// A Wootric for benchmarks: what the service needs of the API and the pixel, for next to no CPU.
//
// It checks as it goes that what it sees of each user comes in order and once, and tells what it
// has counted at /_bench/counts. It is no replacement for the emulator: no faults, no rate limit.
package main

import (
	"flag"
	"fmt"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"time"
)

func main() {
	port := flag.Int("port", 8081, "port on loopback; 0 takes a free one")
	delay := flag.Duration("delay", 0, "how long every reply takes")
	journal := flag.Bool("journal", false, "remember when each page view came")
	flag.Parse()
	runtime.GOMAXPROCS(1) // idle threads that look for work would cost the worker's core
	debug.SetGCPercent(400)
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", *port))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	os.Stdout.Close() // who started us waits for the line, or for the end
	world := newWorld(*journal)
	for {
		connection, err := listener.Accept()
		if err != nil {
			time.Sleep(time.Millisecond)
			continue
		}
		go serve(connection, world, *delay)
	}
}
