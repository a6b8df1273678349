# One small static image per program: docker build --build-arg PROGRAM=orderer .
# Reproducible: no build ids, no paths, no time stamps; multi-arch by TARGETARCH.
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
ARG PROGRAM TARGETOS TARGETARCH
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -buildvcs=false -ldflags="-s -w -buildid=" -o /out/program ./cmd/$PROGRAM

# Nothing but the program and the certificates to trust the suppliers by.
FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/program /program
USER 65532:65532
ENTRYPOINT ["/program"]
