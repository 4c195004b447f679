"""What moves data: the simulator now; cleaning, ETL, streaming and the SQL advisor beside it."""
