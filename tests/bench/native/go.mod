module wootric-bench

go 1.21
