"""The product on a real Kafka and a real Valkey, its worker and API in processes of their own."""
